"""Tests of the split: disjoint, complete, stratified, near its shares, independent of order and names."""

import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import UserError
from lamina.maths.crossvalidation import SPARE
from lamina.maths.published_split import find_published_test, split_around
from lamina.maths.splits import FOLDS, SplitConfig, split_origins

SHARES = SplitConfig(test=0.3, validation=0.15).shares


def pictures(origins: int, classes: int, per_origin: int, seed: int) -> pd.DataFrame:
    """Origins of 1..per_origin pictures of any class; each class occurs in at least 3 origins."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, per_origin + 1, origins)
    origin = np.repeat([f"slide-{number:03d}" for number in range(origins)], sizes)
    label = random.choice([f"class-{number}" for number in range(classes)], len(origin))
    sure = pd.DataFrame(
        [(f"sure-{number}-{label}", f"class-{label}") for label in range(classes) for number in range(3)],
        columns=["origin", "label"],
    )
    return pd.concat([pd.DataFrame({"origin": origin, "label": label}), sure], ignore_index=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 6), st.integers(1, 12), st.integers(0, 10**6))
def test_every_origin_has_one_fold_and_every_fold_every_class(origins: int, classes: int, most: int, seed: int) -> None:
    table = pictures(origins, classes, most, seed)
    fold = split_origins(table["origin"], table["label"], SHARES, seed)
    assert sorted(fold.index) == sorted(table["origin"].unique())
    assert set(fold) == set(FOLDS)
    assert (pd.crosstab(table["origin"].map(fold), table["label"]) > 0).all(axis=None)


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 400), st.integers(2, 6), st.integers(0, 10**6))
def test_single_pictures_are_split_exactly(count: int, classes: int, seed: int) -> None:
    table = pictures(count, classes, 1, seed)
    fold = table["origin"].map(split_origins(table["origin"], table["label"], SHARES, seed))
    for name, share in SHARES.items():
        assert abs((fold == name).sum() - share * len(table)) <= 1
        wanted = share * table["label"].value_counts()
        assert ((table["label"][fold == name].value_counts() - wanted).abs() <= 2).all()


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_within_half_the_largest_origin_of_their_share(seed: int) -> None:
    table = pictures(60, 4, 12, seed)
    fold = table["origin"].map(split_origins(table["origin"], table["label"], SHARES, seed))
    largest = table["origin"].value_counts().max()
    for name, share in SHARES.items():
        assert abs((fold == name).sum() - share * len(table)) <= largest / 2


@pytest.mark.parametrize(("classes", "pictures_each"), [(600, 6), (400, 20)])
def test_many_classes_are_split_exactly_and_in_little_memory(classes: int, pictures_each: int) -> None:
    labels = np.repeat([f"class-{number}" for number in range(classes)], pictures_each)
    origins = [f"picture-{number}" for number in range(len(labels))]
    tracemalloc.start()
    fold = split_origins(origins, labels, SHARES, 3)[origins].to_numpy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # of 600 x 600 x 600 numbers it would be 1.7 GB
    counts = pd.crosstab(labels, fold)
    assert counts.to_numpy().min() >= 1
    for name, share in SHARES.items():
        assert ((counts[name] - share * pictures_each).abs() <= 1).all()
    assert abs(counts["test"].sum() - 0.3 * len(labels)) <= 1 + max(0, classes - 0.15 * len(labels)), (
        "validation has one"
    )


def test_many_classes_of_long_tails_keep_their_shares() -> None:
    sizes = [max(6, 400 // rank) for rank in range(1, 151)]
    labels = np.repeat([f"class-{number}" for number in range(len(sizes))], sizes)
    origins = [f"picture-{number}" for number in range(len(labels))]
    fold = split_origins(origins, labels, SHARES, 3)[origins].to_numpy()
    counts = pd.crosstab(labels, fold)
    for name, share in SHARES.items():
        assert abs(counts[name].sum() - share * len(labels)) <= 1
        assert ((counts[name] - share * counts.sum(axis=1)).abs() <= 1).all()


def test_splits_stay_those_of_before() -> None:
    table = pictures(50, 4, 5, 1)
    fold = split_origins(table["origin"], table["label"], SHARES, 7)
    assert "".join(fold.str[1]) == "arrrrrrrreeeaaaeeraeearrearrererreeerrrrerrrereearrreererarrrr"


def test_order_of_pictures_and_names_of_classes_do_not_matter() -> None:
    table = pictures(50, 4, 5, 1)
    fold = split_origins(table["origin"], table["label"], SHARES, 7)
    shuffled = table.sample(frac=1, random_state=3)
    pd.testing.assert_series_equal(split_origins(shuffled["origin"], shuffled["label"], SHARES, 7), fold)
    renamed = table["label"].map({"class-0": "z", "class-1": "y", "class-2": "x", "class-3": "w"})
    pd.testing.assert_series_equal(split_origins(table["origin"], renamed, SHARES, 7), fold)


def test_another_seed_gives_another_split() -> None:
    table = pictures(50, 2, 2, 1)
    one, other = (split_origins(table["origin"], table["label"], SHARES, seed) for seed in (1, 2))
    assert (one != other).any()


def test_a_class_with_too_few_origins_is_named() -> None:
    labels = ["many"] * 10 + ["few"] * 2
    with pytest.raises(UserError, match=r"class 'few' comes from 2 origins, but 3 folds need one each"):
        split_origins([f"o{number}" for number in range(12)], labels, SHARES, 0)


def test_shares_must_leave_pictures_for_training() -> None:
    with pytest.raises(ValueError, match="must leave pictures to train with"):
        SplitConfig(test=0.8, validation=0.2)


# ---- published test sets


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_a_published_test_set_is_the_test_fold_and_its_origins_are_not_trained_on(
    origins: int, classes: int, most: int, seed: int
) -> None:
    table = pictures(origins, classes, most, seed)
    drawn = np.random.default_rng(seed).random(len(table)) < 0.1
    table["is_test"] = np.where(table["origin"].str.startswith("sure"), table["origin"].str.startswith("sure-0"), drawn)
    table["fold"] = split_around(table["is_test"].to_numpy(), table["origin"], table["label"], 0.1, seed)
    assert ((table["fold"] == "test") == table["is_test"]).all()
    touched = table.groupby("origin")["is_test"].transform("any")
    assert (table["fold"].isin(["test", SPARE]) == touched).all()
    assert (table[~touched].groupby("origin")["fold"].nunique() == 1).all()
    assert (pd.crosstab(table["fold"], table["label"]).loc[["train", "validation"]] > 0).all(axis=None)


def test_validation_stays_a_share_of_all_pictures() -> None:
    table = pictures(400, 2, 1, 5)
    is_test = np.arange(len(table)) % 2 == 0
    fold = split_around(is_test, table["origin"], table["label"], 0.2, 5)
    assert abs((fold == "validation").sum() - 0.2 * len(table)) <= 1
    assert (fold[is_test] == "test").all()


@pytest.mark.parametrize(("top", "pattern"), [("", "^test/"), ("pets/", "^test/"), ("pets/", "^pets/test/")])
def test_a_pattern_is_searched_with_or_without_the_top_folder(top: str, pattern: str) -> None:
    names = [f"{top}{name}" for name in ("train/1.png", "train/test/2.png", "test/3.png")]
    assert list(find_published_test(names, pattern)) == [False, False, True]


def test_a_pattern_finds_names_in_either_form_of_unicode() -> None:
    names = ["E\u0301vora/1.png", "Porto/2.png", "\u00c9vora/3.png", "Faro/4.png"]
    for pattern in ("^(\u00c9vora|Porto)/", "^(E\u0301vora|Porto)/"):
        assert list(find_published_test(names, pattern)) == [True, True, True, False]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("^exam/", "'^exam/' is found in none of 4 names ('a/1.png', ...)"), ("png$", "'png$' is found in all 4 names")],
)
def test_a_pattern_found_in_no_name_or_all_names_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        find_published_test(["a/1.png", "a/2.png", "test/3.png", "test/4.png"], pattern)


@pytest.mark.parametrize(
    ("labels", "is_test", "validation", "message"),
    [
        (
            "aaabbbb",
            "1000111",
            0.1,
            "1 origins of class 'b' are left without test pictures, .* leave the class out",
        ),
        ("aaabbbb", "0001100", 0.1, "matches nothing of class 'a'; correct it, or leave the class"),
        ("aaabbbb", "1001000", 0.8, "0.8 of 7 takes all 5 that split.test_pattern leaves; lower it"),
        (
            "",
            "1111110",
            0.1,
            "split.test_pattern: 1 origins are left without .* one each; add data of other origins$",
        ),
    ],
)
def test_a_published_test_set_that_leaves_too_few_pictures_is_refused(
    labels: str, is_test: str, validation: float, message: str
) -> None:
    flags = np.array([flag == "1" for flag in is_test])
    origins = [f"o{number}" for number in range(len(is_test))]
    with pytest.raises(UserError, match=message):
        split_around(flags, origins, list(labels) or [""] * len(is_test), validation, 1)


def test_messages_name_no_class_for_pictures_without_labels() -> None:
    with pytest.raises(UserError, match=r"all data come from 2 origins, but 3 .* add data of other origins$"):
        split_origins(["a", "b"], ["", ""], SHARES, 0)
