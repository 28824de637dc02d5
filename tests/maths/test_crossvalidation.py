"""Tests of the parts and folds of cross-validation, and of the control with shuffled labels."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.config import validated
from lamina.errors import UserError
from lamina.maths.control import LEVEL, SHUFFLES, chance_test, shuffle_labels, units
from lamina.maths.crossvalidation import SPARE, AssessConfig, fold_of, partition


def pictures(origins: int, classes: int, seed: int) -> pd.DataFrame:
    """Origins of 1 to 5 pictures of one class each, every class in at least 8 of them; two copies of each picture."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 6, classes * (8 + origins))
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    table = pd.DataFrame({"origin": [f"slide-{n:03d}" for n in numbers]})
    table["label"] = [f"class-{n % classes}" for n in numbers]
    table["id"] = [f"{row:016x}" for row in range(len(table))]
    return pd.concat([table.assign(copy=copy) for copy in range(3)], ignore_index=True)


def with_parts(table: pd.DataFrame, parts: int, seed: int) -> pd.DataFrame:
    return table.assign(part=table["origin"].map(partition(list(table["origin"]), list(table["label"]), parts, seed)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 12), st.integers(2, 4), st.integers(2, 6), st.integers(0, 10**6))
def test_each_picture_is_tested_once_and_no_origin_is_in_two_folds(
    origins: int, classes: int, parts: int, seed: int
) -> None:
    table = with_parts(pictures(origins, classes, seed), parts, seed)
    assert (table.groupby("origin")["part"].nunique() == 1).all()
    assert set(table["part"]) == set(range(parts))
    tested: list[str] = []
    for part in range(parts):
        folds = fold_of(table, part, 0.2, seed)
        pd.testing.assert_frame_equal(folds.drop(columns="fold"), table)
        used = folds[folds["fold"] != SPARE]
        assert (used.groupby("origin")["fold"].nunique() == 1).all()
        assert (used.loc[used["fold"] != "train", "copy"] == 0).all()
        assert (folds.loc[folds["fold"] == SPARE, "copy"] > 0).all()
        trained = folds.loc[folds["fold"] == "train", "id"]
        assert (trained.value_counts() == 3).all(), "with all its copies"
        assert (pd.crosstab(used["fold"], used["label"]) > 0).all(axis=None)
        tested += list(folds.loc[folds["fold"] == "test", "id"])
    assert sorted(tested) == sorted(set(table["id"]))


def test_parts_have_about_the_same_size_and_classes() -> None:
    table = with_parts(pictures(60, 3, 1), 5, 1)
    share = pd.crosstab(table["part"], table["label"])
    assert (share / share.sum() - 0.2).abs().max(axis=None) < 0.03


def test_order_of_pictures_and_names_of_classes_do_not_matter() -> None:
    table = pictures(20, 3, 2)
    part = partition(list(table["origin"]), list(table["label"]), 4, 7)
    shuffled = table.sample(frac=1, random_state=3)
    pd.testing.assert_series_equal(partition(list(shuffled["origin"]), list(shuffled["label"]), 4, 7), part)
    renamed = table["label"].map({"class-0": "z", "class-1": "y", "class-2": "x"})
    pd.testing.assert_series_equal(partition(list(table["origin"]), list(renamed), 4, 7), part)


@pytest.mark.parametrize(
    ("few", "parts", "match"),
    [
        (3, 5, r"class 'few' comes from 3 origins: fold 3 of 0 to 4 would have none of it; ask for fewer folds"),
        (2, 2, r"class 'few' comes from 2 origins: outside fold 0 there is none of it for validation; ask for fewer"),
    ],
)
def test_a_class_that_a_fold_would_miss_is_named(few: int, parts: int, match: str) -> None:
    labels = ["many"] * 20 + ["few"] * few
    with pytest.raises(UserError, match=f"^assess.folds: {match}"):
        partition([f"o{number}" for number in range(len(labels))], labels, parts, 0)


def test_one_fold_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"params.yaml: assess.folds: expected 0, for no cross-validation, or 2 and more"
    ):
        validated({"folds": 1}, "assess", AssessConfig)
    assert validated({}, "assess", AssessConfig) == AssessConfig(repeats=0, folds=0, control=False)


def test_shuffled_labels_have_the_same_counts_and_one_label_for_each_unit() -> None:
    table = pictures(10, 3, 5).assign(fold="train")
    table.loc[::2, "label"] = "class-9"  # origins now hold two classes
    shuffled = shuffle_labels(table, 1)
    pd.testing.assert_frame_equal(shuffled.drop(columns="label"), table.drop(columns="label"))
    before, after = (frame.groupby(units(table))["label"] for frame in (table, shuffled))
    assert (after.nunique() == 1).all()
    assert sorted(after.first()) == sorted(before.first())
    assert (shuffled["label"] != table["label"]).mean() > 0.4
    pd.testing.assert_frame_equal(shuffle_labels(table, 1), shuffled)
    assert (shuffle_labels(table, 2)["label"] != shuffled["label"]).any()


def few_of_a_class(origins: int) -> pd.DataFrame:
    """A manifest with 60 origins, of which so many have the class `c`."""
    folds, numbers = ["train", "train", "test", "validation"] * 15, range(60)
    labels = ["c" if number < origins else "ab"[number % 2] for number in numbers]
    return pd.DataFrame({"origin": [f"o{number:02}" for number in numbers], "label": labels, "fold": folds, "copy": 0})


def test_every_class_is_still_in_training_when_labels_are_shuffled() -> None:
    table = few_of_a_class(3)
    for seed in range(40):
        shuffled = shuffle_labels(table, seed)
        assert set(shuffled.loc[table["fold"] == "train", "label"]) == {"a", "b", "c"}
        assert sorted(shuffled["label"]) == sorted(table["label"])


def test_a_class_that_never_gets_into_training_is_said() -> None:
    table = few_of_a_class(1)
    only = table.assign(fold=["train"] + ["test"] * 59, label=["c", *table["label"][1:]])
    with pytest.raises(UserError, match=r"^assess\.control: after each of 100 shuffles a class is missing in training"):
        shuffle_labels(only, 1)


def test_the_false_alarm_rate_of_the_control_is_as_stated() -> None:
    # predictions that follow the true classes, as of a network that ignores the shuffled labels
    random = np.random.default_rng(8)
    found = []
    for seed in range(150):
        unit = np.repeat(np.arange(30), random.integers(1, 6, 30))
        label = random.permutation(np.repeat(["a", "b", "c"], 10))[unit]
        predicted = np.array(["a", "b", "c"])[unit % 3]
        found.append(chance_test(label, predicted, unit, seed=seed))
    p = np.array([one["p"] for one in found])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p <= level) <= level + 3 * math.sqrt(level * (1 - level) / len(p))
    assert np.mean(p <= 0.5) > 0.3
    held = [one["interval"][0] <= one["accuracy"] <= one["interval"][1] for one in found]
    assert np.mean(held) >= 0.9


def test_chance_is_the_mean_over_all_shuffles() -> None:
    found = chance_test(list("aabb"), list("aaab"), list("1234"), seed=1)
    # three predictions are a and one is b, half of the labels are each: (3 / 2 + 1 / 2) / 4
    assert found["chance"] == 0.5
    # the six ways to place two a among four pictures give 3, 3, 3, 1, 1 or 1 correct
    assert found["accuracy"] == 0.75
    assert found["p"] == pytest.approx(0.5, abs=0.02)


def test_predictions_that_used_the_test_labels_fail() -> None:
    label = np.random.default_rng(0).permutation(np.repeat(["a", "b", "c"], 12))
    found = chance_test(label, label, np.arange(36), seed=1)
    assert found["p"] == 1 / (SHUFFLES + 1) < LEVEL
    assert not found["passed"]
    leaked = np.where(np.arange(36) < 18, label, np.roll(label, 1))
    assert not chance_test(leaked, label, np.arange(36), seed=1)["passed"]
