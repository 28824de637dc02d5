"""Paired comparisons: exact where they say so, blind to order and names, and right as often as they promise."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from lamina.maths.comparison import (
    Difference,
    difference_interval,
    differences,
    holm,
    letters,
    mean_differences,
    paired_test,
    prediction_limits,
)
from lamina.maths.means import mean_interval, paired_mean_test

p_values = st.lists(st.floats(0, 1), max_size=12)
answers = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcdefgh")), max_size=40)


def columns(table: list[tuple[bool, bool, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    before, after, origin = np.array(table, dtype=object).reshape(-1, 3).T
    return before.astype(bool), after.astype(bool), origin


@given(answers)
def test_p_is_the_share_of_all_exchanges_of_whole_origins(table) -> None:
    before, after, origin = columns(table)
    gain = [int(after[origin == name].sum()) - int(before[origin == name].sum()) for name in sorted(set(origin))]
    sums = [abs(sum(sign * one for sign, one in zip(signs, gain, strict=True))) for signs in _signs(len(gain))]
    expected = np.mean([one >= abs(sum(gain)) for one in sums])
    assert paired_test(before, after, origin) == pytest.approx(expected)


def _signs(count: int) -> list[tuple[int, ...]]:
    return list(product((-1, 1), repeat=count))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_one_picture_an_origin_gives_mcnemars_exact_test(pairs) -> None:
    before, after = np.array(pairs, dtype=bool).reshape(-1, 2).T
    worse, better = int(np.sum(before & ~after)), int(np.sum(~before & after))
    expected = binomtest(worse, worse + better).pvalue if worse + better else 1.0
    assert paired_test(before, after, np.arange(len(pairs))) == pytest.approx(expected)


def test_published() -> None:
    # statsmodels' example of McNemar's exact test: table [[101, 121], [59, 33]]
    before = [True] * (101 + 121) + [False] * (59 + 33)
    after = [True] * 101 + [False] * 121 + [True] * 59 + [False] * 33
    assert paired_test(before, after, range(314)) == pytest.approx(4.4344492e-06, rel=1e-6)
    # six changes, all one way: 2 / 2**6; within one origin they are one witness
    assert paired_test([True] * 6, [False] * 6, range(6)) == 0.03125
    assert paired_test([True] * 6, [False] * 6, ["a"] * 6) == 1
    with pytest.raises(ValueError, match="same pictures before and after, each with its origin, got 2, 3 and 2"):
        paired_test([True] * 2, [True] * 3, ["a"] * 2)


@given(answers, st.randoms(use_true_random=False))
def test_order_and_names_and_direction_do_not_count(table, random) -> None:
    before, after, origin = columns(table)
    p = paired_test(before, after, origin)
    assert 0 < p <= 1
    order = random.sample(range(len(table)), len(table))
    renamed = np.array([name * 2 for name in origin], dtype=object)
    assert paired_test(before[order], after[order], renamed[order]) == pytest.approx(p)
    assert paired_test(after, before, origin) == pytest.approx(p)
    assert paired_test(before, before, origin) == 1


def test_many_pictures_take_no_time() -> None:
    random = np.random.default_rng(0)
    origin = random.integers(0, 6000, 20_000)
    before, after = random.random((2, 20_000)) < 0.8
    assert 0 < paired_test(before, after, origin) <= 1


def grouped(random: np.random.Generator, origins: int, first: float, second: float) -> tuple[np.ndarray, ...]:
    """Answers of two networks for origins of 1 to 8 pictures, each right or wrong of most of an origin at once."""
    origin = np.repeat(np.arange(origins), random.integers(1, 9, origins))
    right = []
    for rate in (first, second):
        together = random.random(origin.size) < 0.7
        right.append(np.where(together, (random.random(origins) < rate)[origin], random.random(origin.size) < rate))
    return right[0], right[1], origin


def test_p_values_are_uniform_where_neither_is_better() -> None:
    random = np.random.default_rng(5)
    found = [paired_test(*grouped(random, 40, 0.75, 0.75)) for _ in range(1500)]
    for level in (0.01, 0.05, 0.1, 0.2, 0.5):
        spread = 3 * math.sqrt(level * (1 - level) / len(found))
        assert np.mean(np.array(found) <= level) <= level + spread, level
        assert np.mean(np.array(found) <= level) >= 0.6 * level - spread, level
    # as if pictures were independent, ten false alarms in a hundred would be no rarity
    pictures = [
        paired_test(first, second, np.arange(len(first)))
        for first, second, _ in (grouped(random, 40, 0.75, 0.75) for _ in range(500))
    ]
    assert np.mean(np.array(pictures) <= 0.05) > 0.1


@pytest.mark.parametrize(("first", "second"), [(0.8, 0.8), (0.9, 0.7), (0.97, 0.92)])
@pytest.mark.parametrize("origins", [15, 40])
def test_the_interval_holds_the_true_difference(origins: int, first: float, second: float) -> None:
    random = np.random.default_rng(origins)
    intervals = [difference_interval(*grouped(random, origins, first, second)) for _ in range(600)]
    held = np.mean([low <= first - second <= high for low, high in intervals])
    assert held >= 0.92
    assert all(-1 <= low <= high <= 1 for low, high in intervals)


@given(answers.filter(len))
def test_the_interval_holds_what_was_found_and_turns_with_it(table) -> None:
    first, second, origin = columns(table)
    low, high = difference_interval(first, second, origin)
    assert low <= first.mean() - second.mean() <= high
    assert difference_interval(second, first, origin) == pytest.approx((-high, -low))


def test_the_interval_is_nearly_bonett_and_prices() -> None:
    first = np.array([True] * 60 + [True] * 25 + [False] * 10 + [False] * 5)
    second = np.array([True] * 60 + [False] * 25 + [True] * 10 + [False] * 5)
    left, right = 26 / 102, 11 / 102
    half = 1.959964 * math.sqrt((left + right - (left - right) ** 2) / 102)
    assert difference_interval(first, second, np.arange(100)) == pytest.approx(
        (left - right - half, left - right + half), abs=0.005
    )


def test_no_difference_at_all_is_not_certain() -> None:
    low, high = difference_interval([True] * 20, [True] * 20, range(20))
    assert low < 0 < high


@pytest.mark.parametrize("trainings", [3, 6])
def test_one_more_training_lies_within_the_limits(trainings: int) -> None:
    """Of 100 lots of normal trainings, one more lies below in 5, above in 5."""
    lots = np.random.default_rng(0).normal(0.8, 0.02, (4000, trainings + 1))
    limits = np.array([prediction_limits(lot[:-1], 0.05) for lot in lots])
    assert np.mean(lots[:, -1] < limits[:, 0]) == pytest.approx(0.05, abs=0.012)
    assert np.mean(lots[:, -1] > limits[:, 1]) == pytest.approx(0.05, abs=0.012)


def test_limits_worked_by_hand() -> None:
    # of 1, 2 and 3: deviation 1, and t of two degrees of freedom is 2.920
    assert prediction_limits([1, 2, 3], 0.05) == pytest.approx(
        (2 - 2.920 * (4 / 3) ** 0.5, 2 + 2.920 * (4 / 3) ** 0.5), abs=1e-3
    )


@settings(max_examples=60)
@given(st.integers(1, 7), st.data())
def test_two_runs_share_a_letter_exactly_where_no_difference_was_found(count: int, data) -> None:
    names = [f"run {number}" for number in range(count)]
    found = [
        Difference(first=first, second=second, mean=0.1, interval=(0, 0.2), p=data.draw(st.sampled_from([0.01, 1])))
        for first, second in combinations(names, 2)
    ]
    given_ = letters(names, found)
    assert "a" in given_[names[0]]
    for one in found:
        assert bool(set(given_[one.first]) & set(given_[one.second])) is (one.p > 0.05)


def test_every_pair_is_compared_and_corrected() -> None:
    random = np.random.default_rng(2)
    origin = np.arange(120) // 2
    correct = {name: random.random(120) < rate for name, rate in {"good": 0.92, "fair": 0.9, "bad": 0.4}.items()}
    found = differences(correct, origin)
    assert [(one.first, one.second) for one in found] == [("good", "fair"), ("good", "bad"), ("fair", "bad")]
    assert [one.p for one in found] == holm([paired_test(correct[o.first], correct[o.second], origin) for o in found])
    assert letters(list(correct), found) == {"good": "a", "fair": "a", "bad": "b"}
    assert found[1].turned().interval == pytest.approx([-bound for bound in found[1].interval[::-1]])


def test_means_are_compared_pair_by_pair_and_corrected() -> None:
    random = np.random.default_rng(3)
    origin = np.arange(90) // 3
    hard = random.lognormal(4, 1, 30)[origin]  # of one origin alike, and hard for all runs
    errors = {name: hard * random.lognormal(rise, 0.2, 90) for name, rise in {"good": 0, "fair": 0, "bad": 0.5}.items()}
    found = mean_differences(errors, origin)
    assert [(one.first, one.second) for one in found] == [("good", "fair"), ("good", "bad"), ("fair", "bad")]
    assert [one.p for one in found] == holm(
        [paired_mean_test(errors[one.first], errors[one.second], origin) for one in found]
    )
    for one in found:
        change = errors[one.first] - errors[one.second]
        assert one.mean == pytest.approx(change.mean())
        assert one.interval == mean_interval(change, origin)
    assert letters(list(errors), found) == {"good": "a", "fair": "a", "bad": "b"}
    alone = {name: mean_interval(of, origin) for name, of in errors.items()}
    assert alone["good"][1] > alone["bad"][0], "that which pictures are hard is common to both is what tells them apart"


def test_one_origin_tells_no_means_apart() -> None:
    (found,) = mean_differences({"one": [1.0, 2], "other": [5.0, 7]}, ["a", "a"])
    assert (found.mean, found.p, found.bounded) == (-4.5, 1, False)
    assert not found.turned().bounded


@given(p_values)
def test_holm_is_monotone_and_never_lowers(values):
    adjusted = holm(values)
    assert all(p <= higher <= 1 for p, higher in zip(values, adjusted, strict=True))
    assert all(higher <= len(values) * p or higher == p for p, higher in zip(values, adjusted, strict=True))
    order = sorted(range(len(values)), key=lambda place: values[place])
    assert sorted(adjusted) == [adjusted[place] for place in order]


@given(p_values, st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_order(values, random):
    order = random.sample(range(len(values)), len(values))
    adjusted = holm(values)
    assert holm([values[place] for place in order]) == [adjusted[place] for place in order]


def test_holm_worked_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    with pytest.raises(ValueError, match="p-values between 0 and 1, got nan"):
        holm([0.1, math.nan])
