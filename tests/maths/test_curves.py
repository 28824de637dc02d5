"""Curves at fixed places: those of scikit-learn there, and areas near the scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from lamina.maths.curves import GRID, curves
from lamina.maths.further_scores import further_scores


@settings(max_examples=20)
@given(st.integers(400, 600), st.integers(2, 4), st.integers(0, 10**6))
def test_areas_are_near_the_scores(pictures: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(classes) * 0.7, pictures)
    label = (shares.cumsum(axis=1) > random.random((pictures, 1))).argmax(axis=1)
    found, scores = curves(shares, label), further_scores(shares, label, np.zeros(pictures))
    assert found.roc.shape == found.precision.shape == (classes, len(GRID))
    assert np.trapezoid(found.roc.mean(axis=0), GRID) == pytest.approx(scores["roc_auc"]["value"], abs=0.01)
    area = np.trapezoid(found.precision.mean(axis=0), GRID)
    assert area == pytest.approx(scores["average_precision"]["value"], abs=0.02)
    assert np.trapezoid(found.risk, GRID) == pytest.approx(scores["aurc"]["value"], abs=0.02)
    fallout, recall, _ = roc_curve(label == 0, shares[:, 0], drop_intermediate=False)
    np.testing.assert_allclose(found.roc[0], [recall[fallout <= place + 1e-12].max() for place in GRID])
    assert found.risk[-1] == pytest.approx(np.mean(shares.argmax(axis=1) != label))


def test_a_class_that_does_not_occur_has_no_curve() -> None:
    found = curves([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], [0, 1])
    assert found.roc.tolist() == [[1.0] * len(GRID)] * 2
    assert curves([[0.6, 0.4]], [0]).roc.shape == (0, len(GRID))
