"""Every dropped picture has a reason; near duplicates share an origin."""

import io
import tracemalloc
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.data.candidates import BLOCKS, near_pairs
from lamina.data.decoding import is_grey
from lamina.data.duplicates import (
    LIGHT_LEVELS,
    MEAN_LEVELS,
    WORST_LEVELS,
    merge_origins,
    near_duplicate_groups,
)
from lamina.data.filters import REMEDIES, FilterConfig, FilterRules, judge
from lamina.data.pixels import box_fits
from lamina.data.sources.corrections import TABLE
from lamina.data.verdicts import describe_losses, read_corrected
from lamina.errors import UserError
from lamina.maths.published_split import find_published_test

FINE = {
    "name": "a.png", "label": "cat", "label_count": 1, "boxes": [], "sha256": "0", "error": "",
    "width": 100, "height": 80, "grey": False, "cell": None,
}  # fmt: skip


def rules(**change: object) -> FilterRules:
    settings = {"drop_grayscale": True, "min_side": 32, "drop_duplicates": True}
    known = {name: change.pop(name) for name in list(change) if name in settings}
    others = {"labeled": True, "classes": None, "boxed": False, "celled": False} | change
    return FilterRules(filter=FilterConfig(**settings | known), **others)


def judged(*rows: dict, **change: object) -> pd.DataFrame:
    table = pd.DataFrame([FINE | {"sha256": str(number)} | row for number, row in enumerate(rows)])
    return judge(table, rules(**change))


@pytest.mark.parametrize(
    ("row", "change", "reason", "detail"),
    [
        ({"error": "image file is truncated", "width": 0, "height": 0}, {}, "unreadable", "truncated"),
        ({"width": 31}, {}, "too small", "31x80 is smaller than filter.min_side=32"),
        ({"grey": True}, {}, "grayscale", "no color"),
        ({"label": None, "label_count": 0}, {}, "unlabeled", "no label"),
        ({"label": "cat + dog", "label_count": 2}, {}, "ambiguous", "cat \\+ dog"),
        ({"label": "cow"}, {"classes": ("cat", "dog")}, "excluded class", "cow is not in source.classes"),
        ({"boxes": []}, {"boxed": True}, "bad box", "0 boxes, expected one"),
        ({"boxes": [[0, 0, 9, 9]] * 2}, {"boxed": True}, "bad box", "2 boxes, expected one"),
        ({"boxes": [[200, 0, 300, 50]]}, {"boxed": True}, "bad box", "lies in the picture"),
        ({"cell": None}, {"celled": True}, "no cell", "no white blood cell"),
    ],
)
def test_a_picture_is_dropped_for_its_reason(row: dict, change: dict, reason: str, detail: str) -> None:
    verdicts = judged({}, row, **{"classes": None} | change)
    assert verdicts["reason"][1] == reason
    assert pd.Series([verdicts["detail"][1]]).str.contains(detail).all()


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ({}, {}),
        ({"grey": True}, {"drop_grayscale": False}),
        ({"label": None, "label_count": 0}, {"labeled": False}),
        ({"boxes": [[0, 0, 9, 9]]}, {"boxed": True}),
        ({"width": 32, "height": 32}, {}),
    ],
)
def test_allowed_pictures_stay(row: dict, change: dict) -> None:
    assert judged(row, **change)["reason"].isna().all()


def test_the_first_of_equal_files_stays() -> None:
    verdicts = judged({"name": "a"}, {"name": "b", "sha256": "0"}, {"name": "c"})
    assert verdicts["reason"].tolist()[1:] == ["duplicate", None]
    assert verdicts["reason"].isna()[0]
    assert verdicts["detail"][1] == "same bytes as a"


def test_equal_files_stay_if_configured() -> None:
    assert judged({}, {"sha256": "0"}, drop_duplicates=False)["reason"].isna().all()


def test_equal_files_under_two_labels_are_ambiguous() -> None:
    verdicts = judged({}, {"sha256": "0", "label": "dog"})
    assert verdicts["reason"].tolist() == ["ambiguous", "ambiguous"]
    assert "same bytes under several labels: cat, dog" in verdicts["detail"][0]


def test_of_equal_files_the_one_whose_label_was_corrected_stays() -> None:
    rows = [{"name": name, "sha256": "0", "label": label} for name, label in (("a", "cat"), ("b", "dog"), ("c", "dog"))]
    verdicts = judged(*rows, corrected={"c"})
    assert verdicts["reason"].fillna("").tolist() == ["duplicate", "duplicate", ""]
    assert verdicts["detail"][0] == "same bytes as c"
    both = judged(*rows, corrected={"a", "c"})
    assert both["reason"].tolist() == ["ambiguous"] * 3, "two corrections that differ"


def test_names_of_corrected_labels_are_read(tmp_path: Path) -> None:
    assert read_corrected(tmp_path) == frozenset()
    (tmp_path / TABLE).write_text("file,given,label\nNA,cat,dog\n007,cat,dog\n", encoding="utf-8")
    assert read_corrected(tmp_path) == {"NA", "007"}


@pytest.mark.parametrize("label", ["cat", "dog"])
def test_of_equal_files_the_published_test_picture_stays(label: str) -> None:
    rows = [{"name": f"{part}/{number}"} for part in ("other", "train", "validation") for number in range(2)]
    for number in range(2):
        rows[number]["sha256"] = rows[number + 2]["sha256"] = rows[number + 4]["sha256"] = f"same {number}"
        rows[number]["label"] = label
    verdicts = judged(*rows, given_test=partial(find_published_test, pattern="^validation/"))
    assert verdicts["reason"].isna().tolist() == [False] * 4 + [True] * 2
    assert set(verdicts["detail"][:4]) == {
        f"same bytes as the given test item validation/{number}" for number in range(2)
    }
    assert judged(*rows)["reason"].isna().sum() == (2 if label == "cat" else 0)


def test_losses_of_classes_are_described() -> None:
    rows = [{"grey": label == "a" or number == 0, "label": label} for label in "abc" for number in range(3)]
    rows += [{"grey": True, "label": None, "label_count": 0}, {"grey": True, "label": "a + b", "label_count": 2}]
    table = pd.DataFrame([FINE | row for row in rows])

    def losses(classes: tuple[str, ...] | None, **change: object) -> list[str]:
        return describe_losses(table, judged(*rows, **change), classes, REMEDIES, "pictures")

    assert losses(("b", "c")) == losses(None, drop_grayscale=False) == []
    with pytest.raises(UserError) as caught:
        losses(None)
    assert str(caught.value) == (
        "filter drops all 3 pictures of class 'a' (3 grayscale); set filter.drop_grayscale to false, "
        "or leave the class out with source.classes"
    )
    with pytest.raises(UserError, match=r"source\.classes: no pictures of class 'aa'; did you mean 'a'\?; correct"):
        losses(("aa", "b"))
    rows[2]["grey"] = False
    assert losses(None) == [
        "class 'a' keeps only 1 of 3 pictures (2 grayscale); if that is wrong, set filter.drop_grayscale to false"
    ]


def test_grey_and_color_are_separated_by_content() -> None:
    random = np.random.default_rng(0)
    grey = np.repeat(random.integers(0, 256, (64, 64, 1)), 3, axis=2).astype(np.uint8)
    assert is_grey(grey)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=60)
    assert is_grey(np.asarray(Image.open(file)))
    dot = grey.copy()
    dot[20:24, 20:24] = (200, 40, 40)
    assert not is_grey(dot)


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        ((0, 0, 10, 10), True),
        ((-5, -5, 20, 20), True),
        ((95, 75, 120, 100), False),
        ((10, 10, 10, 20), False),
        ((20, 10, 10, 20), False),
    ],
)
def test_boxes_must_lie_in_the_picture(box: tuple[int, int, int, int], fits: bool) -> None:
    assert box_fits(box, 100, 80) is fits


def thumbnails(count: int) -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((16, 16), Image.Resampling.BICUBIC)) for one in coarse])


def test_near_duplicates_are_one_group_and_others_are_not() -> None:
    pictures = thumbnails(50)
    noise = np.random.default_rng(2).integers(-1, 2, pictures[:3].shape)
    copies = np.clip(pictures[:3].astype(int) + noise + 1, 0, 255).astype(np.uint8)
    groups = near_duplicate_groups(np.concatenate([pictures, copies, pictures[7:8]]))
    np.testing.assert_array_equal(groups[50:53], groups[:3])
    assert groups[53] == groups[7]
    assert len(set(groups)) == 50


def near(left: np.ndarray, right: np.ndarray) -> bool:
    """The three bounds, one after the other."""
    difference = left.astype(float) - right
    light = difference.mean(axis=(0, 1))
    rest = np.abs(difference - light)
    return (np.abs(light) <= LIGHT_LEVELS).all() and rest.mean() <= MEAN_LEVELS and rest.max() <= WORST_LEVELS


def varied(random: np.random.Generator) -> np.ndarray:
    """Pictures of all degrees of likeness: some noise, some light, some change in one block."""
    base = np.repeat(128 + random.normal(0, 20, (12, 16, 16, 3)), 8, axis=0)
    noise = random.normal(0, 1, base.shape) * random.uniform(0, 3, (len(base), 1, 1, 1))
    light = random.uniform(-3, 3, (len(base), 1, 1, 3))
    block = np.zeros_like(base)
    block[:, 4:8, 8:12] = random.uniform(-20, 20, (len(base), 1, 1, 3))
    block *= random.integers(0, 2, (len(base), 1, 1, 1))
    return np.clip((base + noise + light + block).round(), 0, 255).astype(np.uint8)


def groups_by_brute_force(pictures: np.ndarray) -> list[int]:
    """The first picture of each one's group, by comparing all pairs."""
    first = list(range(len(pictures)))
    for i, j in combinations(range(len(pictures)), 2):
        if first[i] != first[j] and near(pictures[i], pictures[j]):
            first = [min(first[i], first[j]) if one in (first[i], first[j]) else one for one in first]
    return first


def first_of_groups(pictures: np.ndarray) -> list[int]:
    found = near_duplicate_groups(pictures).tolist()
    return [found.index(one) for one in found]


@pytest.mark.parametrize("seed", range(3))
def test_every_near_duplicate_is_a_candidate(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.candidates._LEAF", 4)
    pictures = varied(np.random.default_rng(seed))
    true = {(i, j) for i, j in combinations(range(len(pictures)), 2) if near(pictures[i], pictures[j])}
    usual = np.full((len(pictures), 2), (MEAN_LEVELS, WORST_LEVELS))
    numbers = np.arange(len(pictures))
    found = near_pairs(pictures, numbers, LIGHT_LEVELS, usual, lambda own: numbers[own], BLOCKS)
    candidates = {(min(pair), max(pair)) for pairs in found for pair in pairs.tolist()}
    assert true <= candidates
    assert 30 < len(true) < len(candidates) < len(pictures) ** 2 / 4
    assert first_of_groups(pictures) == groups_by_brute_force(pictures)


def test_groups_are_those_of_all_pairs_where_pictures_have_little_contrast() -> None:
    random = np.random.default_rng(4)
    low, high = np.sort(random.integers(0, 64, (2, 240)), axis=0)
    pictures = random.integers(low[:, None], high[:, None] + 1, (240, 64 * 3)).astype(np.uint8)
    pictures = pictures.reshape(-1, 8, 8, 3).repeat(2, axis=1).repeat(2, axis=2)
    groups = first_of_groups(pictures)
    assert groups == groups_by_brute_force(pictures)
    assert 9 < groups.count(max(groups, key=groups.count)) < len(set(groups))


def test_pairs_of_one_group_are_skipped() -> None:
    pictures = np.repeat(thumbnails(20), 3, axis=0)
    numbers, usual = np.arange(60), np.full((60, 2), (MEAN_LEVELS, WORST_LEVELS))
    assert not list(near_pairs(pictures, numbers, LIGHT_LEVELS, usual, lambda own: own // 3, BLOCKS))
    (pairs,) = near_pairs(pictures, numbers, LIGHT_LEVELS, usual, lambda own: own // 2, BLOCKS)
    assert sorted(pairs.tolist()) == sorted(
        [i, j] for i, j in combinations(range(60), 2) if i // 3 == j // 3 and i // 2 != j // 2
    )


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    chain = np.stack([np.full((16, 16, 3), 100 + level, np.uint8) for level in range(0, 40, 4)])
    assert len(set(near_duplicate_groups(chain))) == 1
    assert len(set(near_duplicate_groups(chain[::2]))) == 5


def alike(count: int) -> np.ndarray:
    """Different pictures whose quadrants have almost the same mean colors, as from one microscope."""
    random = np.random.default_rng(3)
    quadrants = random.normal(0, 25, (count, 2, 8, 2, 8, 3)).astype(np.float32)
    quadrants += 170 - quadrants.mean(axis=(2, 4), keepdims=True)
    return np.clip(quadrants.reshape(count, 16, 16, 3).round(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("blank", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_memory_is_bounded_however_many_look_alike(blank: bool) -> None:
    pictures = alike(6_000)
    if blank:
        pictures = pictures // 64 + 100
    tracemalloc.start()
    assert len(set(near_duplicate_groups(pictures))) == 6_000, "where all are alike, none is a copy"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6  # all 18 million pairs would be 288 MB


def test_origins_that_share_a_near_duplicate_become_one() -> None:
    origins = pd.Series(["slide-3", "slide-1", "slide-2", "slide-2", "slide-9"])
    merged = merge_origins(origins, np.array([0, 0, 1, 2, 1]))
    assert merged.tolist() == ["slide-1", "slide-1", "slide-2", "slide-2", "slide-2"]


def test_without_near_duplicates_origins_stay() -> None:
    origins = pd.Series(["b", "a", "b"])
    assert merge_origins(origins, np.arange(3)).tolist() == ["b", "a", "b"]
