"""Calibration: against worked values and scikit-learn, and by simulation where truth is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from lamina.maths.calibration import BINS, calibration, reliability


def drawn(
    random: np.random.Generator, pictures: int, classes: int, sharper: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels drawn from them; then the probabilities are sharpened to promise more."""
    honest = random.dirichlet(np.ones(classes) * 0.7, pictures)
    label = (honest.cumsum(axis=1) > random.random((pictures, 1))).argmax(axis=1)
    told = honest**sharper
    return told / told.sum(axis=1, keepdims=True), label


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 10**6))
def test_plain_numbers_within_their_bounds(pictures: int, classes: int, seed: int) -> None:
    given_, label = drawn(np.random.default_rng(seed), pictures, classes)
    found = calibration(given_, label, np.arange(pictures) // 2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    low, high = found["interval"]
    assert 0 <= low <= found["ece"] <= high <= 1
    assert 0 <= found["by_chance"] <= 1
    assert 0 <= found["brier"] <= 2
    bins = reliability(given_, label)
    assert bins["pictures"].sum() == pictures
    assert (bins["low"] < bins["confidence"] + 1e-12).all()
    assert (bins["confidence"] <= bins["high"] + 1e-12).all()
    gaps = (bins["pictures"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / pictures
    assert found["ece"] == pytest.approx(gaps), "the plot shows what the number says"


@settings(max_examples=40)
@given(st.integers(2, 60), st.integers(3, 5), st.integers(0, 10**6))
def test_proper_scores_are_those_of_scikit_learn(pictures: int, classes: int, seed: int) -> None:
    given_, label = drawn(np.random.default_rng(seed), pictures, classes)
    found = calibration(given_, label, np.arange(pictures))
    assert found["log_loss"] == pytest.approx(log_loss(label, given_, labels=range(classes)), abs=1e-4)
    assert found["brier"] == pytest.approx(brier_score_loss(label, given_, labels=range(classes), scale_by_half=False))


def test_worked_by_hand() -> None:
    # two bins: 0.62 with half right, 0.9 with all right
    given_ = [[0.62, 0.38], [0.62, 0.38], [0.1, 0.9], [0.1, 0.9]]
    found = calibration(given_, [0, 1, 1, 1], range(4))
    assert found["ece"] == pytest.approx((2 * 0.12 + 2 * 0.1) / 4)
    assert found["brier"] == pytest.approx((2 * 0.38**2 + 2 * 0.62**2 + 4 * 0.1**2) / 4)
    assert list(reliability(given_, [0, 1, 1, 1])["low"]) == pytest.approx([9 / BINS, 13 / BINS])


def test_order_of_pictures_does_not_count_and_the_same_is_the_same() -> None:
    random = np.random.default_rng(1)
    given_, label = drawn(random, 80, 3)
    order = random.permutation(80)
    found = calibration(given_, label, np.arange(80))
    assert calibration(given_, label, np.arange(80)) == found
    assert calibration(given_[order], label[order], order)["ece"] == pytest.approx(found["ece"])
    assert calibration(given_[order], label[order], order)["interval"] == pytest.approx(found["interval"], abs=0.02)


def test_what_is_certain_and_wrong_costs_much_and_not_everything() -> None:
    found = calibration([[1.0, 0.0]], [1], ["a"])
    assert (found["ece"], found["brier"]) == (1, 2)
    assert found["log_loss"] == pytest.approx(-np.log(np.finfo(np.float32).eps))


def test_copies_of_pictures_in_an_origin_make_nothing_surer() -> None:
    given_, label = drawn(np.random.default_rng(3), 60, 3, sharper=2)
    alone = calibration(given_, label, np.arange(60))
    copied = calibration(np.repeat(given_, 5, axis=0), np.repeat(label, 5), np.repeat(np.arange(60), 5))
    assert copied["ece"] == pytest.approx(alone["ece"])
    assert copied["interval"] == pytest.approx(alone["interval"], abs=0.01)


def test_chance_tells_calibrated_from_overconfident() -> None:
    random = np.random.default_rng(4)
    honest = [calibration(*drawn(random, 150, 4), np.arange(150)) for _ in range(40)]
    boastful = [calibration(*drawn(random, 150, 4, sharper=3), np.arange(150)) for _ in range(40)]
    assert np.mean([one["ece"] / one["by_chance"] for one in honest]) == pytest.approx(1, abs=0.1)
    assert np.mean([one["ece"] / one["by_chance"] for one in boastful]) > 2.5


@pytest.mark.nightly
def test_the_interval_holds_the_true_error() -> None:
    random = np.random.default_rng(6)
    for sharper in (2.0, 4.0):
        told, label = drawn(random, 200_000, 4, sharper)
        bins = reliability(told, label)
        truth = (bins["pictures"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / len(label)
        intervals = [
            calibration(told[rows], label[rows], np.arange(200))["interval"]
            for rows in (random.integers(0, len(label), 200) for _ in range(80))
        ]
        assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.88


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="as many probabilities as labels and origins, got 1, 2 and 1"):
        calibration([[0.5, 0.5]], [0, 1], ["a"])
    with pytest.raises(ValueError, match="at least one picture"):
        calibration(np.zeros((0, 2)), [], [])
