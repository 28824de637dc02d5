"""Odd pictures: each trait is found in the picture that has it, and in no other."""

import numpy as np
import pandas as pd
import pytest

from lamina.data.oddities import FEWEST, ODD, TRAITS, find_oddities, measure_pixels, nearest_distance
from lamina.maths.color import srgb_to_lab


def usual(count: int = 60, side: int = 32) -> np.ndarray:
    """Return (n, side, side, 3) uint8 pictures of noise on a grey ground of slightly different lightness."""
    random = np.random.default_rng(0)
    ground = random.uniform(110, 140, (count, 1, 1, 1))
    return np.clip(ground + random.normal(0, 25, (count, side, side, 3)), 0, 255).astype(np.uint8)


def measured(rgb: np.ndarray, **columns: object) -> pd.DataFrame:
    return measure_pixels(srgb_to_lab(rgb)).assign(**{"side": 100.0, "aspect": 1.0, "distance": 1.0} | columns)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: np.clip(one, 90, 255) - 90, "dark"),
        (lambda one: np.clip(one, 0, 165) + 90, "bright"),
        (lambda one: np.full_like(one, 125), "low contrast"),
        (lambda one: np.linspace(40, 210, 32).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2), "blurred"),
    ],
)  # fmt: skip
def test_a_changed_picture_is_odd_for_its_reason(change: object, reason: str) -> None:
    rgb = usual()
    rgb[7] = change(rgb[7])  # type: ignore[operator]
    found = find_oddities(measured(rgb))
    assert found["odd"].idxmax() == 7
    assert found.loc[7, "reason"] == reason
    assert np.flatnonzero(found["odd"] >= ODD).tolist() == [7]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("side", 20, "small"),
        ("side", 900, "large"),
        ("aspect", 0.3, "tall"),
        ("aspect", 4, "wide"),
        ("distance", 6, "unlike the others"),
    ],
)
def test_an_unusual_file_is_odd_for_its_reason(column: str, value: float, reason: str) -> None:
    values = np.full(60, TRAITS[column].scale(1.0) * 0 + 100.0 if column == "side" else 1.0)
    values[3] = value
    found = find_oddities(measured(usual(), **{column: values}))
    assert np.flatnonzero(found["odd"] >= ODD).tolist() == [3]
    assert found.loc[3, "reason"] == reason
    assert "usual" in found.loc[3, "detail"]


def test_the_usual_side_of_large_pictures_is_written_out() -> None:
    sides = np.full(60, 1024.0)
    sides[3] = 300
    assert find_oddities(measured(usual(), side=sides)).loc[3, "detail"] == "side 300 px, usual 1024"


def test_pictures_that_differ_a_little_where_all_others_are_alike_are_not_odd() -> None:
    sizes = np.full(60, 100.0)
    sizes[3] = 103
    assert (find_oddities(measured(usual(), side=sizes))["odd"] < ODD).all()


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_of_few_pictures_none_is_odd(count: int) -> None:
    rgb = usual()[:count]
    rgb[:1] = 0
    found = find_oddities(measured(rgb))
    assert len(found) == count
    assert (found["odd"] == 0).all()


def test_the_distance_is_that_to_the_nearest_neighbors_by_itself_or_by_a_sample() -> None:
    points = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    points[5] = 9
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    expected = np.sort(apart, axis=1)[:, 1:6].mean(axis=1)
    np.testing.assert_allclose(nearest_distance(points, seed=1), expected / np.median(expected), rtol=1e-4)
    sampled = nearest_distance(points, seed=1, most=100)
    assert sampled.argmax() == 5
    assert np.isfinite(sampled).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points_have_distances(count: int) -> None:
    assert np.isfinite(nearest_distance(np.eye(4, dtype=np.float32)[:count], seed=1)).all()
