"""Scores of labels: values are those of scikit-learn, and thresholds are never worse than 0.5 where they are found."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from lamina.maths.label_scores import f1_of_each, find_thresholds, label_scores, share_interval
from lamina.maths.means import mean_interval
from lamina.maths.scores import accuracy_interval

LABELS = 4


def drawn(pictures: int, seed: int, labels: int = LABELS) -> tuple[np.ndarray, np.ndarray]:
    """Labels of different frequencies, and probabilities that say something about them."""
    random = np.random.default_rng(seed)
    truth = random.random((pictures, labels)) < np.linspace(0.1, 0.7, labels)
    logits = random.normal(0, 1, truth.shape) + 1.5 * truth - 1
    return 1 / (1 + np.exp(-logits)), truth


def scored(shares: np.ndarray, truth: np.ndarray, threshold: float = 0.4, per_origin: int = 2) -> dict[str, object]:
    names = [f"label {place}" for place in range(truth.shape[1])]
    origins = np.arange(len(truth)) // per_origin
    return label_scores(shares, truth, origins, np.full(len(names), threshold), names)


@settings(max_examples=15)
@given(st.integers(8, 50), st.integers(0, 10**6))
def test_values_are_those_of_scikit_learn(pictures: int, seed: int) -> None:
    shares, truth = drawn(pictures, seed)
    found = scored(shares, truth)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    named, occurs = shares >= 0.4, truth.any(axis=0)
    further, several = found["further"], truth.any(axis=0) & ~truth.all(axis=0)
    # scikit-learn gives 0 to a picture without labels that gets none, unless it is told otherwise
    assert found["f1"] == pytest.approx(f1_score(truth, named, average="samples", zero_division=1))
    assert further["micro_f1"]["value"] == pytest.approx(f1_score(truth, named, average="micro"))
    each = f1_score(truth, named, average=None, zero_division=0)
    assert further["macro_f1"]["value"] == pytest.approx(each[occurs].mean())
    precisions = [average_precision_score(truth[:, at], shares[:, at]) for at in np.flatnonzero(several)]
    areas = [roc_auc_score(truth[:, at], shares[:, at]) for at in np.flatnonzero(several)]
    assert further["mean_average_precision"]["value"] == pytest.approx(np.mean(precisions))
    assert further["roc_auc"]["value"] == pytest.approx(np.mean(areas))
    assert further["subset_accuracy"]["value"] == pytest.approx((truth == named).all(axis=1).mean())
    assert further["label_accuracy"]["value"] == pytest.approx((truth == named).mean())
    usual = np.tile(truth.mean(axis=0) >= 0.5, (pictures, 1))
    assert further["majority_f1"]["value"] == pytest.approx(f1_score(truth, usual, average="samples", zero_division=1))
    for one in [{"value": found["f1"], "interval": found["interval"]}, *further.values()]:
        if one["interval"] is not None:
            low, high = one["interval"]
            assert 0 <= low <= one["value"] <= high <= 1


def test_few_perfect_pictures_are_no_certainty() -> None:
    truth = np.eye(3, dtype=bool)
    found = scored(truth.astype(float), truth, per_origin=1)
    expected = list(accuracy_interval([True] * 3, range(3)))
    assert expected[0] < 0.5
    assert found["interval"] == found["further"]["label_accuracy"]["interval"] == expected
    assert {str(one["interval"]) for name, one in found["further"].items() if name != "majority_f1"} == {str(expected)}
    assert share_interval([0.0] * 3, range(3)) == accuracy_interval([False] * 3, range(3))
    assert share_interval([1, 1, 0.5], range(3)) == (mean_interval([1, 1, 0.5], range(3))[0], 1)
    assert share_interval([1.0] * 3, ["one"] * 3) == (-np.inf, np.inf)


def test_each_label_has_its_own_scores() -> None:
    shares, truth = drawn(60, 3)
    truth[:, 3] = False
    found = scored(shares, truth)["per_label"]
    for at, one in enumerate(found.values()):
        true, named = truth[:, at], shares[:, at] >= 0.4
        assert (one["n"], one["threshold"]) == (true.sum(), 0.4)
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            assert one[name] == pytest.approx(score(true, named, zero_division=0))
        if at < 3:
            assert one["average_precision"] == pytest.approx(average_precision_score(true, shares[:, at]))
            assert one["roc_auc"] == pytest.approx(roc_auc_score(true, shares[:, at]))
    assert (found["label 3"]["average_precision"], found["label 3"]["roc_auc"]) == (None, None)


def test_copies_of_a_picture_do_not_narrow_the_intervals() -> None:
    shares, truth = drawn(40, 1)
    once = scored(shares, truth, per_origin=1)
    again = scored(np.repeat(shares, 5, axis=0), np.repeat(truth, 5, axis=0), per_origin=5)
    assert again["interval"] == pytest.approx(once["interval"])
    for name, one in once["further"].items():
        assert again["further"][name]["interval"] == (one["interval"] and pytest.approx(one["interval"])), name


def test_one_origin_has_no_interval() -> None:
    shares, truth = drawn(6, 1)
    found = scored(shares, truth, per_origin=6)
    assert (found["interval"], found["further"]["micro_f1"]["interval"], found["origins"]) == (None, None, 1)


def test_f1_of_a_picture() -> None:
    truth = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]], bool)
    named = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 1]], bool)
    assert f1_of_each(truth, named).tolist() == pytest.approx([2 / 3, 1, 0, 0])


# ---- thresholds


@settings(max_examples=25)
@given(st.integers(2, 60), st.integers(0, 10**6), st.integers(1, 5))
def test_thresholds_are_at_least_as_good_as_a_half(pictures: int, seed: int, labels: int) -> None:
    shares, truth = drawn(pictures, seed, labels)
    found = find_thresholds(shares, truth)
    assert f1_of_each(truth, shares >= found).mean() >= f1_of_each(truth, shares >= 0.5).mean() - 1e-12
    assert ((found > 0) & (found < 1)).all()
    assert (found[~truth.any(axis=0) | truth.all(axis=0)] == 0.5).all()


def test_shifted_probabilities_get_thresholds_between_the_pictures() -> None:
    truth = np.array([[0, 1], [0, 0], [1, 1], [1, 0]], bool)
    shares = np.where(truth, [0.3, 0.9], [0.1, 0.7])
    assert find_thresholds(shares, truth) == pytest.approx([0.2, 0.8])


def test_labels_of_no_picture_or_of_every_picture_keep_a_half() -> None:
    truth = np.array([[0, 1, 0], [0, 1, 1]], bool)
    shares = np.array([[0.7, 0.2, 0.6], [0.6, 0.3, 0.8]])
    assert find_thresholds(shares, truth)[:2].tolist() == [0.5, 0.5]


def test_a_threshold_that_no_other_beats_stays() -> None:
    truth = np.array([[0, 1], [1, 0]], bool)
    assert find_thresholds(np.where(truth, 0.6, 0.1), truth).tolist() == [0.5, 0.5]


def test_many_pictures_get_thresholds_near_the_best_of_all() -> None:
    shares, truth = drawn(3000, 5, 1)
    best = max(f1_of_each(truth, shares >= level).mean() for level in np.unique(shares)[::5])
    assert f1_of_each(truth, shares >= find_thresholds(shares, truth)).mean() > best - 0.002
