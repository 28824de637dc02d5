"""Drawn blood smears: reproducible, separable by shape but not by color, with the flaws of real folders."""

import io
import itertools
from collections import Counter, defaultdict

import cv2
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lamina.data.sources.cells import ATYPICAL, TYPICAL
from lamina.data.sources.members import Picture
from lamina.data.sources.smear import DECK, Shot, draw, pictures, shots

SEED, COUNT = 13, 160


@pytest.fixture(scope="module")
def drawn() -> list[Picture]:
    return list(pictures(SEED, COUNT))


@pytest.fixture(scope="module")
def flaws() -> dict[str, Shot]:
    return {shot.name: shot for shot in shots(SEED, COUNT)}


@pytest.fixture(scope="module")
def sound(drawn: list[Picture], flaws: dict[str, Shot]) -> list[tuple[Picture, np.ndarray]]:
    return [(picture, pixels(picture)) for picture in drawn if flaws[picture.name].flaw is None]


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.encoded)).convert("RGB"))


def test_names_are_sorted_unique_and_contain_label_and_slide(drawn: list[Picture]) -> None:
    names = [picture.name for picture in drawn]
    assert names == sorted(set(names))
    assert len(names) == COUNT
    for picture in drawn:
        assert picture.name.startswith(f"smear/{picture.labels[0]}/{picture.origin}_")


def test_a_smaller_count_gives_some_of_the_same_files(drawn: list[Picture]) -> None:
    whole = {picture.name: picture for picture in drawn}
    assert all(whole[picture.name] == picture for picture in pictures(SEED, 45))


@pytest.mark.parametrize("count", [1, 7])
def test_any_count_can_be_drawn(count: int) -> None:
    assert len(list(pictures(SEED, count))) == count


def test_drawing_is_lazy_and_another_seed_gives_other_pictures(drawn: list[Picture]) -> None:
    first = next(pictures(SEED + 1, 1000))
    assert first.encoded not in {picture.encoded for picture in drawn}


def test_classes_are_mildly_unequal() -> None:
    of_the_deck = {label: n / len(DECK) for label, n in Counter(DECK).items()}
    assert of_the_deck == {"neutrophil": 0.3, "eosinophil": 0.2, "lymphocyte": 0.3, "monocyte": 0.2}
    assert set(of_the_deck) == set(TYPICAL) == set(ATYPICAL)
    labels = Counter(shot.label for shot in shots(SEED, 600))
    assert all(abs(labels[label] / 600 - share) < 0.03 for label, share in of_the_deck.items())


def test_a_slide_holds_several_pictures_of_several_classes() -> None:
    slides = defaultdict(list)
    for shot in shots(SEED, 600):
        slides[shot.origin].append(shot.label)
    assert 50 < len(slides) < 150
    assert min(len(labels) for labels in list(slides.values())[:-1]) >= 4
    assert np.mean([len(set(labels)) > 1 for labels in slides.values()]) > 0.9


def test_pictures_of_a_slide_look_alike(sound: list[tuple[Picture, np.ndarray]]) -> None:
    medians = defaultdict(list)
    for picture, image in sound:
        medians[picture.origin].append(np.median(image, (0, 1)))
    slides = [np.array(group) for group in medians.values() if len(group) > 1]
    within = np.mean([group.std(0) for group in slides])
    between = np.std([group.mean(0) for group in slides], 0).mean()
    assert between > 2 * within


def test_boxes_lie_inside_and_hold_the_nucleus(sound: list[tuple[Picture, np.ndarray]]) -> None:
    for picture, image in sound:
        ((left, top, right, bottom),) = picture.boxes
        height, width = image.shape[:2]
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        held = nucleus(image)[top:bottom, left:right].sum() / nucleus(image).sum()
        assert held > 0.9, picture.name  # a platelet may touch the cell


def nucleus(image: np.ndarray) -> np.ndarray:
    """The largest part that absorbs red light, as nuclei do and red cells do not."""
    red = cv2.GaussianBlur(np.ascontiguousarray(image[..., 0]), (0, 0), 1)
    dark = (red < (np.percentile(red, 1) + np.median(red)) / 2).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(dark)
    return parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def test_600_pictures_have_the_flaws_of_real_folders() -> None:
    counts = Counter(shot.flaw for shot in shots(SEED, 600))
    assert counts == {None: 565, "grey": 12, "near duplicate": 12, "duplicate": 9, "truncated": 1, "no picture": 1}
    assert {shot.flaw for shot in shots(SEED, 40)} == set(counts)
    suffixes = Counter(shot.suffix for shot in shots(SEED, 600))
    assert 0 < suffixes["png"] < 60


def test_flaws_match_their_names(drawn: list[Picture], flaws: dict[str, Shot]) -> None:
    whole = {picture.name: picture for picture in drawn}
    greys = set()
    for picture in drawn:
        shot = flaws[picture.name]
        if shot.flaw == "no picture":
            assert picture.boxes == ()
            with pytest.raises(UnidentifiedImageError, match="cannot identify image file"):
                pixels(picture)
        elif shot.flaw == "truncated":
            with pytest.raises(OSError, match="truncated"):
                pixels(picture)
        elif shot.flaw == "grey":
            greys.add(Image.open(io.BytesIO(picture.encoded)).mode)
            assert np.ptp(pixels(picture), axis=2).max() == 0
        elif shot.original is not None:
            repeated(picture, whole[shot.original.name], exactly=shot.flaw == "duplicate")
        else:
            assert np.ptp(pixels(picture), axis=2).max() > 20
    assert greys == {"L", "RGB"}


def repeated(picture: Picture, original: Picture, *, exactly: bool) -> None:
    assert picture.name != original.name
    assert picture.labels == original.labels
    assert (picture.encoded == original.encoded) is exactly
    again, before = (np.asarray(Image.fromarray(pixels(one)).resize((64, 64)), float) for one in (picture, original))
    assert np.abs(again - before).mean() < 4


def test_shape_predicts_the_class_but_color_does_not(sound: list[tuple[Picture, np.ndarray]]) -> None:
    color = np.array([image.mean((0, 1)) for _, image in sound])
    shape = np.array([form(nucleus(image), picture) for picture, image in sound])
    assert accuracy(color, sound) < 0.45
    assert accuracy(shape, sound) > 0.6


def form(inside: np.ndarray, picture: Picture) -> list[float]:
    """Size of the cell, share of it that is nucleus, and how far that nucleus is from convex and round."""
    outline = max(cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
    left, top, right, bottom = picture.boxes[0]
    area, round_it = cv2.contourArea(outline), cv2.arcLength(outline, True)
    cell, hull = (right - left) * (bottom - top), cv2.contourArea(cv2.convexHull(outline))
    return [cell, area / cell, area / hull, area / round_it**2]


def accuracy(features: np.ndarray, sound: list[tuple[Picture, np.ndarray]]) -> float:
    """Accuracy of logistic regression on slides that it has not seen."""
    labels, slides = zip(*((picture.labels[0], picture.origin) for picture, _ in sound), strict=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(cross_val_score(model, features, labels, groups=slides, cv=GroupKFold(5)).mean())


def test_a_drawing_does_not_depend_on_earlier_ones() -> None:
    first, second = itertools.islice(shots(SEED, 40), 2)
    before = draw(first, SEED)
    draw(second, SEED)
    assert draw(first, SEED) == before
