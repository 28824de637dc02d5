"""Means over pictures: intervals that hold what they promise, tests that are exact where they say so."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from lamina.maths.means import mean_interval, paired_mean_test

values_of_origins = st.lists(st.tuples(st.floats(-100, 100), st.sampled_from("abcdefgh")), min_size=1, max_size=30)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_one_picture_an_origin_gives_students_interval(values: list[float]) -> None:
    values = [*values, values[0] + 1]
    expected = ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values, range(len(values))) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


@given(values_of_origins, st.randoms(use_true_random=False), st.floats(-50, 50))
def test_the_interval_moves_with_the_values_and_not_with_their_order(rows, random, by: float) -> None:
    values, origin = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    low, high = mean_interval(values, origin)
    assert low - 1e-9 <= values.mean() <= high + 1e-9
    order = random.sample(range(len(rows)), len(rows))
    assert mean_interval(values[order], origin[order]) == pytest.approx((low, high), abs=1e-9)
    assert mean_interval(by - values, origin) == pytest.approx((by - high, by - low), abs=1e-9)
    assert mean_interval(values, origin, np.full(len(rows), 3)) == pytest.approx((low, high), abs=1e-9)


def test_one_origin_bounds_nothing() -> None:
    assert mean_interval([1, 2, 3], ["a"] * 3) == (-math.inf, math.inf)


def test_a_picture_taken_twice_says_nothing_more() -> None:
    values = np.random.default_rng(3).normal(size=30)
    assert mean_interval(np.tile(values, 5), np.tile(range(30), 5)) == pytest.approx(mean_interval(values, range(30)))


def test_a_weighted_interval_is_the_jackknifes() -> None:
    random = np.random.default_rng(4)
    values, weights, origin = random.normal(size=40), random.lognormal(size=40), random.integers(0, 9, 40)
    left = [np.average(values[origin != one], weights=weights[origin != one]) for one in set(origin)]
    mean = np.average(values, weights=weights)
    half = 2.306004 * math.sqrt(8 / 9 * np.sum((np.array(left) - mean) ** 2))  # Student's t, 8 degrees of freedom
    assert mean_interval(values, origin, weights) == pytest.approx((mean - half, mean + half), rel=1e-6)


@pytest.mark.parametrize("origins", [8, 40])
def test_the_interval_holds_the_true_mean(origins: int) -> None:
    random, held = np.random.default_rng(origins), []
    for _ in range(800):
        origin = np.repeat(np.arange(origins), random.integers(1, 9, origins))
        values = random.normal(size=origins)[origin] + random.normal(size=origin.size)
        low, high = mean_interval(values, origin)
        held.append(low <= 0 <= high)
    assert 0.92 <= np.mean(held) <= 0.98


@given(values_of_origins)
def test_p_is_the_share_of_all_exchanges_of_whole_origins(rows) -> None:
    change, origin = np.round([row[0] for row in rows], 1), np.array([row[1] for row in rows])
    sums = [change[origin == one].sum() for one in sorted(set(origin))]
    flipped = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=len(sums))]
    expected = np.mean([one >= abs(sum(sums)) - 1e-7 for one in flipped])
    assert paired_mean_test(np.zeros(len(rows)), change, origin) == pytest.approx(expected)


def test_drawn_exchanges_give_nearly_what_all_give() -> None:
    # 30 origins that differ by as much: the sign test
    change = np.array([1.0] * 20 + [-1.0] * 10)
    assert paired_mean_test(np.zeros(30), change, range(30)) == pytest.approx(binomtest(20, 30).pvalue, rel=0.1)
    assert paired_mean_test(np.zeros(6000), np.ones(6000), range(6000)) == 1e-4


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_order_and_names_and_direction_do_not_count(count: int, random) -> None:
    before, after = np.random.default_rng(count).lognormal(4, 1, (2, 3 * count))
    origin = np.arange(3 * count) // 3
    p = paired_mean_test(before, after, origin)
    order = random.sample(range(3 * count), 3 * count)
    names = np.array(random.sample(range(1000), count))[origin]
    assert paired_mean_test(before[order], after[order], names[order]) == p
    assert paired_mean_test(after, before, origin) == p
    assert paired_mean_test(before, before, origin) == 1


def test_p_values_are_uniform_where_neither_is_better() -> None:
    random, found = np.random.default_rng(6), []
    origin = np.repeat(np.arange(14), 3)
    for _ in range(600):
        errors = random.lognormal(4, 1, 14)[origin] * random.lognormal(0, 0.3, (2, len(origin)))
        found.append(paired_mean_test(*errors, origin))
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 600))


def test_six_changes_one_way_and_one_origin() -> None:
    assert paired_mean_test([5] * 6, [6, 7, 8, 9, 10, 11], range(6)) == 2 / 2**6
    assert paired_mean_test([5] * 6, [6, 7, 8, 9, 10, 11], ["a"] * 6) == 1
    with pytest.raises(ValueError, match="same pictures before and after, got 1 and 3"):
        paired_mean_test([1], [1, 2, 3], range(3))
    with pytest.raises(ValueError, match="each with its origin, got 3 and 2"):
        mean_interval([1, 2, 3], range(2))
    with pytest.raises(ValueError, match="one or more pictures, each with its origin, got 0 and 0"):
        mean_interval([], [])
