"""Doubtful labels: swapped ones are found, without having seen their origins."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from lamina.maths.doubts import PARTS, Doubts, NothingToJudgeError, find_doubts, out_of_fold, what_correcting_changes


def digits(count: int = 900) -> tuple[np.ndarray, "pd.Series[str]"]:
    """Return handwritten digits as points of mean square length 1, and their classes."""
    x, numbers = load_digits(return_X_y=True)
    x = x[:count] - x[:count].mean(axis=0)
    return x / np.sqrt((x**2).sum(axis=1).mean()), pd.Series(numbers[:count]).map("digit {}".format)


def swapped(labels: "pd.Series[str]", share: float = 0.05) -> "pd.Series[str]":
    random, given = np.random.default_rng(4), labels.copy()
    for place in random.permutation(len(labels))[: round(share * len(labels))]:
        given[place] = random.choice([name for name in sorted(set(labels)) if name != labels[place]])
    return given


def each_its_origin(labels: "pd.Series[str]") -> "pd.Series[str]":
    return pd.Series([f"o{number}" for number in range(len(labels))])


@pytest.fixture(scope="module")
def found() -> tuple[np.ndarray, "pd.Series[str]", "pd.Series[str]", Doubts]:
    x, labels = digits()
    given = swapped(labels)
    return x, labels, given, find_doubts({"x": x}, given, each_its_origin(labels), seed=1)


def test_swapped_labels_are_found(found: tuple[np.ndarray, "pd.Series[str]", "pd.Series[str]", Doubts]) -> None:
    _, labels, given, doubts = found
    wrong = (labels != given).to_numpy()
    worst = np.argsort(doubts.score)[: wrong.sum()]
    assert wrong[worst].mean() >= 0.8, "precision at the true number"
    assert wrong[doubts.suspect].mean() >= 0.7
    assert doubts.suspect[wrong].mean() >= 0.8
    likelier = np.array(doubts.classes)[doubts.likelier]
    assert (likelier[doubts.suspect & wrong] == labels[doubts.suspect & wrong]).mean() > 0.9
    assert (likelier[doubts.suspect] != given[doubts.suspect]).all(), "no suspect is likeliest as given"


def test_correcting_helps_and_is_measured_on_the_same_pictures(
    found: tuple[np.ndarray, "pd.Series[str]", "pd.Series[str]", Doubts],
) -> None:
    x, _, _, doubts = found
    changes = what_correcting_changes({"x": x}, doubts)
    assert changes["given"]["all"] == pytest.approx((doubts.likelier == doubts.labels).mean())
    assert changes["corrected"]["all"] > changes["given"]["all"] + 0.03
    assert changes["removed"]["all"] == changes["removed"]["unsuspected"]
    assert changes["corrected"]["unsuspected"] >= changes["given"]["unsuspected"] - 0.005


def test_the_same_inputs_give_the_same_doubts(
    found: tuple[np.ndarray, "pd.Series[str]", "pd.Series[str]", Doubts],
) -> None:
    x, labels, given, doubts = found
    again = find_doubts({"x": x}, given, each_its_origin(labels), seed=1)
    np.testing.assert_array_equal(again.probabilities, doubts.probabilities)
    np.testing.assert_array_equal(again.suspect, doubts.suspect)


def test_a_whole_origin_is_in_one_part() -> None:
    x, labels = digits(400)
    origins = pd.Series(np.arange(400) // 4).map("slide {}".format)
    doubts = find_doubts({"x": x}, labels, origins, seed=1)
    assert (pd.Series(doubts.parts).groupby(origins).nunique() == 1).all()
    assert np.bincount(doubts.parts).min() > 40


def test_a_model_never_sees_the_labels_of_the_part_that_it_judges() -> None:
    x, labels = digits(300)
    numbers = pd.factorize(labels)[0]
    parts = np.arange(300) % PARTS
    before = out_of_fold(x, numbers, parts, 10, 5.0)
    changed = np.where(parts == 2, (numbers + 1) % 10, numbers)
    after = out_of_fold(x, changed, parts, 10, 5.0)
    np.testing.assert_array_equal(after[parts == 2], before[parts == 2])
    assert not np.array_equal(after[parts == 1], before[parts == 1])


def test_rare_classes_and_rows_without_labels_are_left_out() -> None:
    x, labels = digits(300)
    labels = labels.where(labels != "digit 9")
    labels[np.flatnonzero(labels == "digit 8")[4:]] = "digit 7"  # four are left, fewer than parts
    doubts = find_doubts({"x": x}, labels, each_its_origin(labels), seed=1)
    assert doubts.classes == tuple(f"digit {number}" for number in range(8))
    np.testing.assert_array_equal(doubts.judged, labels.isin(doubts.classes))
    assert doubts.probabilities.shape == (doubts.judged.sum(), 8)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["a"] * 8, "there is 1 class of at least 5"), (["a", "b", "c"], "no classes of"), ([None] * 6, "no classes of")],
)
def test_what_cannot_be_judged_is_said(labels: list[str | None], said: str) -> None:
    given = pd.Series(labels, dtype="str")
    with pytest.raises(NothingToJudgeError, match=said):
        find_doubts({"x": np.eye(len(labels))}, given, each_its_origin(given), seed=1)


def test_features_judge_together_where_that_is_better() -> None:
    x, labels = digits()
    given = swapped(labels)
    halves = {"left": x[:, :28], "right": x[:, 36:], "none": np.random.default_rng(1).normal(0, 0.1, x.shape)}
    both = find_doubts(halves, given, each_its_origin(labels), seed=1)
    assert sorted(both.strengths) == ["left", "right"], "noise adds nothing"
    wrong = (labels != given).to_numpy()
    alone = {name: find_doubts({name: halves[name]}, given, each_its_origin(labels), seed=1) for name in both.strengths}
    hits = [(one.likelier == one.labels).sum() for one in alone.values()]
    assert hits[0] >= hits[1], "the best one first"
    first, second, together = (wrong[np.argsort(one.score)[: wrong.sum()]].mean() for one in (*alone.values(), both))
    assert together > max(first, second)
    np.testing.assert_allclose(both.probabilities.sum(axis=1), 1)
    changes = what_correcting_changes(halves, both)
    assert changes["corrected"]["all"] > changes["given"]["all"] + 0.03
