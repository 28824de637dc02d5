"""Conformal sets: those of crepes for one picture per origin, and the coverage that they promise for any origins."""

import math

import numpy as np
import pytest
from crepes import ConformalClassifier
from crepes.extras import hinge
from hypothesis import given
from hypothesis import strategies as st

from lamina.maths.conformal import limit, origins_needed, prediction_sets, score_sets, set_limits


def drawn(random: np.random.Generator, pictures: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    shares = random.dirichlet(np.ones(classes), pictures)
    return shares, (shares.cumsum(axis=1) > random.random((pictures, 1))).argmax(axis=1)


@given(st.integers(1, 60), st.sampled_from([0.5, 0.8, 0.9, 0.95]), st.booleans(), st.integers(0, 10**6))
def test_sets_are_those_of_crepes(pictures: int, coverage: float, by_class: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    (shares, label), (new, _) = drawn(random, pictures), drawn(random, 30)
    found = prediction_sets(new, set_limits(shares, label, np.arange(pictures), coverage, by_class=by_class))
    scores, reference = hinge(shares, np.arange(3), label), ConformalClassifier()
    known = [place for place in range(3) if np.any(label == place)] if by_class else [0, 1, 2]
    assert found[:, [place for place in range(3) if place not in known]].all()
    for place in known:
        own = label == place if by_class else np.ones(pictures, bool)
        reference.fit(scores[own])
        p = reference.predict_p(hinge(new), smoothing=False)
        np.testing.assert_array_equal(found[:, place], p[:, place] > 1 - coverage + 1e-9)


def test_limits_worked_by_hand() -> None:
    assert limit(range(1, 10), range(9), 0.9) == 9
    assert limit(range(1, 9), range(8), 0.9) == math.inf, "nine tenths of nine are more than eight"
    assert limit(range(1, 20), range(19), 0.9) == 18
    assert limit([], [], 0.9) == math.inf
    assert [origins_needed(share) for share in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]


@given(st.integers(2, 30), st.integers(2, 6), st.integers(0, 10**6))
def test_copies_of_an_origin_count_once(origins: int, copies: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, names = random.random(origins), np.arange(origins)
    times = np.where(names < 2, copies, 1)
    assert limit(np.repeat(scores, times), np.repeat(names, times), 0.8) == limit(scores, names, 0.8)


def test_the_coverage_holds_for_new_origins_of_unequal_sizes() -> None:
    """Origins are easy or hard as a whole, and the hard ones have many pictures."""
    random = np.random.default_rng(4)
    held, naive = [], []
    for _ in range(4000):
        hard = random.random(13) < 0.3
        sizes = np.where(hard, 12, 1)
        scores = np.repeat(hard, sizes) + random.random(sizes.sum())
        origin = np.repeat(np.arange(13), sizes)
        known = origin < 12
        new = random.choice(scores[~known])
        held.append(new <= limit(scores[known], origin[known], 0.6))
        naive.append(new <= limit(scores[known], np.arange(known.sum()), 0.6))
    assert 0.6 - 0.02 < np.mean(held) < 0.6 + 0.1
    assert np.mean(naive) > 0.75, "counted by pictures, the hard origins decide alone"


def test_every_class_is_covered_where_each_has_its_limit() -> None:
    random = np.random.default_rng(8)
    shares = random.dirichlet([8, 1, 1], 4000)
    label = random.choice(3, 4000, p=[0.9, 0.05, 0.05])
    half, origin = np.arange(4000) < 2000, np.arange(4000)
    covered = {}
    for by_class in (False, True):
        sets = prediction_sets(shares[~half], set_limits(shares[half], label[half], origin[half], by_class=by_class))
        own = [sets[label[~half] == place, place].mean() for place in range(3)]
        covered[by_class] = min(own)
    assert covered[False] < 0.5
    assert covered[True] > 0.8


def test_a_class_that_was_not_there_or_too_rare_is_in_every_set() -> None:
    shares, label = drawn(np.random.default_rng(1), 40)
    label[:] = 0
    label[:5] = 1
    limits = set_limits(shares, label, np.arange(40), by_class=True)
    assert np.isfinite(limits).tolist() == [True, False, False]
    assert prediction_sets(shares, limits)[:, 1:].all()


def test_scores_of_sets() -> None:
    sets = np.array([[True, False], [True, True], [False, False], [False, True]])
    found = score_sets(sets, [0, 1, 1, 0], [1, 2, 3, 4], 0.9, 20)
    assert (found["coverage"], found["mean_size"], found["empty"], found["single"]) == (0.5, 1, 0.25, 0.5)
    low, high = found["interval"]
    assert low < 0.5 < high
    low, high = found["expected"]
    assert low < 0.9 <= high <= 1
    assert score_sets(sets, [0, 1, 1, 0], [1, 2, 3, 4], 0.9)["expected"] is None
    assert score_sets(sets, [0, 1, 1, 0], [1, 2, 3, 4], 0.9, 8)["expected"] == [1, 1], "full sets"


def test_the_expected_range_holds_the_coverage_as_often_as_it_says() -> None:
    random, inside = np.random.default_rng(2), []
    for _ in range(300):
        (shares, label), (new, truth) = drawn(random, 25), drawn(random, 50)
        sets = prediction_sets(new, set_limits(shares, label, np.arange(25)))
        found = score_sets(sets, truth, np.arange(50), 0.9, 25)
        inside.append(found["expected"][0] <= found["coverage"] <= found["expected"][1])
    assert np.mean(inside) == pytest.approx(0.96, abs=0.03)
