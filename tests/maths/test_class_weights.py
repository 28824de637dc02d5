"""Weights of classes: their mean over the rows, their ratios, and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from lamina.maths.class_weights import ClassWeights, class_weights

CLASSES = 4
labels_of_rows = st.lists(st.integers(0, CLASSES - 1), max_size=60).map(lambda more: np.array([*range(CLASSES), *more]))
POWERS: dict[ClassWeights, float] = {"none": 0, "sqrt": 0.5, "balanced": 1}


@pytest.mark.parametrize("kind", POWERS)
@given(labels=labels_of_rows)
def test_the_mean_over_the_rows_is_one_and_the_ratios_are_a_power_of_the_sizes(
    kind: ClassWeights, labels: np.ndarray
) -> None:
    weights = class_weights(labels, CLASSES, kind)
    counts = np.bincount(labels)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(weights[0] / weights, (counts / counts[0]) ** POWERS[kind], rtol=1e-5)


@given(labels=labels_of_rows)
def test_balanced_weights_are_those_of_scikit_learn(labels: np.ndarray) -> None:
    expected = compute_class_weight("balanced", classes=np.arange(CLASSES), y=labels)
    np.testing.assert_allclose(class_weights(labels, CLASSES, "balanced"), expected, rtol=1e-6)


def test_a_class_without_rows_has_a_finite_weight() -> None:
    assert np.isfinite(class_weights(np.array([0, 0, 1]), 3, "sqrt")).all()
