"""Further scores: values are those of scikit-learn, intervals hold the truth and are counted over origins."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    matthews_corrcoef,
    roc_auc_score,
)

from lamina.maths import further_scores as module
from lamina.maths.further_scores import further_scores, risk_coverage


def drawn(pictures: int, classes: int, seed: int, *, tied: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, on a coarse grid if tied, and labels drawn from them."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(classes) * 0.7, pictures)
    label = (shares.cumsum(axis=1) > random.random((pictures, 1))).argmax(axis=1)
    return (np.round(shares * 4) / 4 if tied else shares), label


@settings(max_examples=20)
@given(st.integers(8, 60), st.integers(2, 4), st.integers(0, 10**6), st.booleans())
def test_values_are_those_of_scikit_learn(pictures: int, classes: int, seed: int, tied: bool) -> None:
    shares, label = drawn(pictures, classes, seed, tied=tied)
    found = further_scores(shares, label, np.arange(pictures) // 2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    answer = shares.argmax(axis=1)
    there = [place for place in range(classes) if 0 < np.sum(label == place) < pictures]
    if there:
        areas = [roc_auc_score(label == place, shares[:, place]) for place in there]
        assert found["roc_auc"]["value"] == pytest.approx(np.mean(areas))
        precisions = [average_precision_score(label == place, shares[:, place]) for place in there]
        assert found["average_precision"]["value"] == pytest.approx(np.mean(precisions))
    kappa = cohen_kappa_score(label, answer, labels=range(classes))
    assert found["kappa"]["value"] == pytest.approx(np.nan_to_num(kappa))
    assert found["matthews"]["value"] == pytest.approx(matthews_corrcoef(label, answer))
    recalls = [np.mean(answer[label == place] == place) for place in np.unique(label)]
    assert found["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
    for name, one in found.items():
        worst, best = module.RANGES[name]
        low, high = one["interval"]
        assert min(worst, best) <= low <= one["value"] <= high <= max(worst, best)


def test_worked_by_hand() -> None:
    # the surest answer is right, the next one wrong, the last one right
    shares = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]
    given_, risk = risk_coverage(shares, [0, 0, 1])
    assert list(given_) == pytest.approx([1 / 3, 2 / 3, 1])
    assert list(risk) == pytest.approx([0, 1 / 2, 1 / 3])
    assert further_scores(shares, [0, 0, 1], [1, 2, 3])["aurc"]["value"] == pytest.approx((1 / 2 + 1 / 3) / 3)


def test_equal_confidences_are_answered_together() -> None:
    given_, risk = risk_coverage([[0.9, 0.1]] * 4, [0, 1, 1, 0])
    assert (list(given_), list(risk)) == ([1.0], [0.5])


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    shares, label = drawn(200_000, 2, 0)
    truth, held = roc_auc_score(label, shares[:, 1]), []
    for seed in range(60):
        some = drawn(80, 2, seed + 1)
        low, high = further_scores(*some, np.arange(80), seed=seed)["roc_auc"]["interval"]
        held.append(low <= truth <= high)
    assert np.mean(held) > 0.85


@pytest.mark.parametrize("pictures", [1, 6], ids=["one picture", "six pictures"])
def test_the_average_precision_of_few_pictures_is_in_the_middle_of_its_interval(pictures: int) -> None:
    """Resamples hold pictures twice, which must not find each other."""
    random, classes, origins = np.random.default_rng(3), 40, 5  # of each class
    label = np.repeat(np.arange(classes), origins)
    shares = np.exp(random.normal(size=(len(label), classes)) + 1.5 * np.eye(classes)[label])
    shares /= shares.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(label)), pictures)
    found = further_scores(shares[rows], label[rows], rows)["average_precision"]
    low, high = found["interval"]
    assert 0.4 < (found["value"] - low) / (high - low) < 0.6


def test_the_width_depends_on_the_origins_and_not_on_their_pictures() -> None:
    shares, label = drawn(30, 3, 5)
    once = further_scores(shares, label, np.arange(30))
    again = further_scores(np.repeat(shares, 6, axis=0), np.repeat(label, 6), np.repeat(np.arange(30), 6))
    for name, one in once.items():
        assert again[name]["value"] == pytest.approx(one["value"])
        assert again[name]["interval"] == pytest.approx(one["interval"])


def test_a_perfect_score_has_an_interval_and_one_origin_has_none() -> None:
    shares, label = np.eye(2)[[0, 1] * 10] * 0.8 + 0.1, np.array([0, 1] * 10)
    found = further_scores(shares, label, np.arange(20))
    assert found["roc_auc"]["value"] == 1
    assert 0.8 < found["roc_auc"]["interval"][0] < 0.9
    assert found["kappa"]["interval"][0] < found["roc_auc"]["interval"][0]
    assert found["aurc"]["interval"][1] > 0.1
    assert further_scores(shares, label, ["one"] * 20)["roc_auc"]["interval"] is None


def test_a_single_class_has_no_curve() -> None:
    found = further_scores([[0.9, 0.1], [0.4, 0.6]], [0, 0], [1, 2])
    assert set(found) == {"balanced_accuracy", "kappa", "matthews", "aurc"}
    assert found["balanced_accuracy"]["value"] == 0.5


def test_many_pictures_of_many_classes_take_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    shares, label = drawn(50, 3, 1)
    usual = further_scores(shares, label, np.arange(50))
    monkeypatch.setattr(module, "CELLS", 500)  # ten samples at once: the same samples
    assert further_scores(shares, label, np.arange(50)) == usual
    monkeypatch.setattr(module, "WORK", 15_000)
    fewer = further_scores(shares, label, np.arange(50))
    assert fewer["kappa"]["interval"] == pytest.approx(usual["kappa"]["interval"], abs=0.1)
    assert fewer["kappa"]["interval"] != usual["kappa"]["interval"]
