"""Slices: their scores, and which differ from the rest, also where pictures of an origin agree."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from lamina.maths.quarters import cut_numbers
from lamina.maths.scores import accuracy_interval
from lamina.maths.slices import FEWEST, find_slices, worst_first


def test_a_slice_has_its_pictures_origins_and_interval() -> None:
    columns = pd.DataFrame({"camera": ["a", "a", "b", "b", None, "a"], "same": ["x"] * 6}, dtype="str")
    right, origin = np.array([1, 0, 1, 1, 1, 1]), list("ppqrst")
    found = {one.value: one for one in find_slices(right, origin, columns, share=True)}
    assert list(found) == ["a", "b", "unknown"], "in order, what is not known last; one value makes no slices"
    assert (found["a"].pictures, found["a"].origins, found["a"].mean) == (3, 2, pytest.approx(2 / 3))
    assert found["a"].interval == accuracy_interval(right[[0, 1, 5]], ["p", "p", "t"])
    assert found["a"].difference == pytest.approx(2 / 3 - 1)
    assert (found["unknown"].interval, found["unknown"].p) == (None, None), "one origin says nothing of others"
    assert worst_first([*found.values()], higher_is_better=True)[0].value == "a"


def test_numbers_are_cut_at_their_quarters() -> None:
    age = pd.DataFrame({"age": [*map(str, range(20, 60)), None]}, dtype="str")
    found = find_slices(np.ones(41), np.arange(41), age, share=True)
    above = ["above 29.75 to 39.5", "above 39.5 to 49.25", "above 49.25 to 59"]
    assert [one.value for one in found] == ["20 to 29.75", *above, "unknown"]
    assert [one.pictures for one in found] == [10, 10, 10, 10, 1]
    few = pd.DataFrame({"ward": ["1", "2"] * 20}, dtype="str")
    assert [one.value for one in find_slices(np.ones(40), np.arange(40), few, share=True)] == ["1", "2"]


@pytest.mark.parametrize("cell", ["inf", "-Infinity"])
def test_a_column_with_an_infinite_number_is_not_cut(cell: str) -> None:
    assert cut_numbers(pd.Series([cell, *map(str, range(20))], dtype="str")) is None


def test_a_number_on_a_bound_belongs_to_the_quarter_that_names_it() -> None:
    days = pd.DataFrame({"day": [str(20_240_100 + number) for number in range(9)]}, dtype="str")
    found = {one.value: one.pictures for one in find_slices(np.ones(9), np.arange(9), days, share=True)}
    assert list(found.items())[:2] == [("20240100 to 20240102", 3), ("above 20240102 to 20240104", 2)]


def test_a_real_difference_is_found_and_chance_is_not() -> None:
    random = np.random.default_rng(5)
    columns = pd.DataFrame({"site": np.repeat(["good", "bad"], 100)}, dtype="str")
    right = np.concatenate([random.random(100) < 0.95, random.random(100) < 0.6])
    assert all((one.p or 0) < 1e-4 for one in find_slices(right, np.arange(200), columns, share=True))
    mixed = random.permutation(right)
    assert all((one.p or 0) > 0.05 for one in find_slices(mixed, np.arange(200), columns, share=True))


@pytest.mark.parametrize(("origins", "size"), [(40, 1), (40, 8), (15, 6)])
def test_false_differences_are_as_rare_as_p_says(origins: int, size: int) -> None:
    random, wrong = np.random.default_rng(origins + size), 0
    group = np.repeat(np.arange(origins), size)
    columns = pd.DataFrame({"site": np.where(group < origins // 2, "a", "b")}, dtype="str")
    for _ in range(300):
        chance = random.beta(0.6, 0.4, origins)[group]  # origins differ much
        found = find_slices(random.random(len(group)) < chance, group, columns, share=True)
        wrong += min(one.p or 0 for one in found) <= 0.05
    assert wrong / 300 < 0.09


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (0, 5),
        (0, 10),
        (1, 9),
        (2, 30),
    ],
)
def test_a_small_slice_of_wrong_answers_is_no_certainty(wrong: int, right: int) -> None:
    rest = [0] * wrong + [1] * right
    columns = pd.DataFrame({"camera": ["a"] * 5 + ["b"] * len(rest)}, dtype="str")
    found = find_slices([0] * 5 + rest, np.arange(5 + len(rest)), columns, share=True)
    exact = fisher_exact([[5, 0], [wrong, right]]).pvalue
    for one in found:
        assert exact <= (one.p or 0) < 0.05


def test_a_slice_and_the_rest_have_one_test_and_columns_that_divide_alike_too() -> None:
    right = np.random.default_rng(1).random(60) < np.repeat([0.9, 0.6, 0.5], 20)
    site, room = np.repeat(["a", "b"], [20, 40]), np.repeat(["near", "far", "farther"], 20)
    alone, both, three = (
        {one.value: one.p or 0.0 for one in find_slices(right, np.arange(60), pd.DataFrame(columns), share=True)}
        for columns in (
            {"site": site},
            {"site": site, "ward": np.char.add("ward ", site)},
            {"site": site, "room": room},
        )
    )
    assert alone["a"] == alone["b"]
    assert {*both.values()} == {alone["a"]}
    assert three["near"] == three["a"] == three["b"] == pytest.approx(3 * alone["a"]), "of three tests"


def test_perfect_shares_are_no_certainty() -> None:
    columns = pd.DataFrame({"camera": [*"aaaaabbbbb"]}, dtype="str")
    first, second = find_slices([1.0] * 5 + [0.5, 1.0, 0.8, 1.0, 0.9], np.arange(10), columns, share=True)
    assert first.interval == accuracy_interval([1] * 5, range(5))
    assert second.interval is not None
    assert second.interval[1] == 1.0


def test_slices_of_equal_scores_do_not_differ() -> None:
    columns = pd.DataFrame({"camera": [*"aaaaabbbbb"]}, dtype="str")
    assert [one.p for one in find_slices([1] * 10, np.arange(10), columns, share=True)] == [1.0, 1.0]


def test_few_origins_are_not_tested() -> None:
    columns = pd.DataFrame({"site": ["a"] * (FEWEST - 1) + ["b"] * 20}, dtype="str")
    assert [one.p for one in find_slices(np.ones(FEWEST + 19), np.arange(FEWEST + 19), columns, share=True)] == [
        None
    ] * 2


def test_errors_are_scored_by_their_mean() -> None:
    columns = pd.DataFrame({"light": ["day"] * 10 + ["night"] * 10}, dtype="str")
    errors = np.concatenate([np.linspace(1, 2, 10), np.linspace(5, 6, 10)])
    first, second = worst_first(find_slices(errors, np.arange(20), columns, share=False), higher_is_better=False)
    assert (first.value, first.mean, second.mean) == ("night", pytest.approx(5.5), pytest.approx(1.5))
    assert first.interval is not None
    assert first.interval[0] < 5.5 < first.interval[1]
    assert (first.p or 1) < 1e-3
