"""Scores of numbers: values are those of scikit-learn and SciPy; margins hold new origins as often as they say."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from lamina.maths.number_scores import find_margin, number_scores, score_margin


def drawn(pictures: int, seed: int, *, tied: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true = random.normal(10, 3, pictures)
    found = true + random.normal(0.5, 2, pictures)
    return (true.round(), found.round()) if tied else (true, found)


def scored(true: np.ndarray, found: np.ndarray, per_origin: int = 2, mean: float = 9.0) -> dict[str, Any]:
    return number_scores(true, found, np.arange(len(true)) // per_origin, mean)


@settings(max_examples=20)
@given(st.integers(6, 60), st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 1e7]))
def test_values_are_those_of_scikit_learn_and_scipy(pictures: int, seed: int, tied: bool, offset: float) -> None:
    true, found = (values + offset for values in drawn(pictures, seed, tied=tied))
    scores = scored(true, found, mean=9 + offset)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["mae"] == pytest.approx(mean_absolute_error(true, found))
    assert scores["baseline"] == pytest.approx(np.abs(true - 9 - offset).mean())
    further = {name: one["value"] for name, one in scores["further"].items()}
    assert further["rmse"] == pytest.approx(root_mean_squared_error(true, found))
    assert further["bias"] == pytest.approx(np.mean(found - true))
    if np.ptp(true) and np.ptp(found):
        assert further["r2"] == pytest.approx(r2_score(true, found), rel=1e-6)
        assert further["spearman"] == pytest.approx(spearmanr(true, found).statistic, abs=1e-12)
    for value, interval in [(scores["mae"], scores["interval"]), *map(dict.values, scores["further"].values())]:
        assert interval[0] <= value <= interval[1]


@pytest.mark.parametrize("value", [3.0, 0.1, -1e9, 0.0])
def test_equal_targets_have_no_r2_and_no_correlation(value: float) -> None:
    found = scored(np.full(9, value), value + np.arange(9.0))["further"]
    assert set(found) == {"rmse", "bias"}


def test_copies_of_a_picture_do_not_narrow_the_intervals() -> None:
    true, found = drawn(40, 1)
    once, again = scored(true, found, 1), scored(true.repeat(5), found.repeat(5), 5)
    assert again["interval"] == pytest.approx(once["interval"])
    for name, one in once["further"].items():
        assert again["further"][name]["interval"] == pytest.approx(one["interval"]), name


def test_one_origin_has_no_interval() -> None:
    scores = scored(*drawn(6, 1), per_origin=6)
    assert scores["interval"] is None
    assert {one["interval"] for one in scores["further"].values()} == {None}


def test_the_interval_of_an_error_does_not_pass_zero() -> None:
    assert scored(np.array([1.0, 2, 3]), np.array([1.0, 2, 9]), 1)["interval"][0] == 0


# ---- margins


def test_a_margin_holds_the_number_of_a_new_origin_as_often_as_wanted() -> None:
    random, held = np.random.default_rng(0), []
    for _ in range(1000):
        sizes = random.choice([1, 15], 25)  # large origins are easy ones
        origin = np.arange(25).repeat(sizes)
        errors = (random.normal(0, 2, 25) / np.sqrt(sizes)).repeat(sizes) + random.normal(0, 0.1, len(origin))
        new = origin == 0
        margin = find_margin(np.zeros((~new).sum()), errors[~new], origin[~new], 0.8)
        held.append(score_margin(np.zeros(new.sum()), errors[new], origin[new], margin, 0.8)["coverage"])
    assert 0.78 < np.mean(held) < 0.85


def test_too_few_origins_have_no_margin() -> None:
    errors = np.arange(16.0)
    margin = find_margin(np.zeros(16), errors, np.arange(16) // 2, 0.9)
    assert margin == np.inf
    assert score_margin(np.zeros(16), errors, np.arange(16), margin, 0.9) == {
        "wanted": 0.9,
        "coverage": 1.0,
        "interval": [pytest.approx(0.806, abs=1e-3), 1.0],
        "margin": None,
    }


def test_the_coverage_of_a_margin_is_the_share_within_it() -> None:
    found = score_margin([0, 0, 0, 0], [1, -2, 3, -4], ["a", "b", "c", "d"], 2.0, 0.9)
    assert (found["coverage"], found["margin"]) == (0.5, 2.0)
    assert found["interval"][0] < 0.5 < found["interval"][1]
