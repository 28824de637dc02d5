"""Stronger warps of fresh copies: each does what it says, within its bounds; what is not given is not drawn."""

import numpy as np
import pandas as pd
import pytest

from lamina.data.augmentation import PLAN_COLUMNS, AugmentConfig, draw_fresh, warp
from lamina.data.fresh import COLUMNS, FreshConfig

IDS = pd.DataFrame({"id": [f"{number:016x}" for number in range(40)], "copy": 0})


def config(**fresh: float) -> AugmentConfig:
    still = {"copies": 0, "rotation": 0, "shift": 0, "flip_horizontal": False, "flip_vertical": False, "color": 0}
    return AugmentConfig.model_validate(still | {"fresh": fresh})


def drawn(seed: int = 1, epoch: int = 1, **fresh: float) -> pd.DataFrame:
    return draw_fresh(IDS, config(**fresh), seed=seed, epoch=epoch)


def picture() -> np.ndarray:
    """Noise with one dot in the middle."""
    pixels = np.random.default_rng(0).integers(60, 90, (33, 33, 3)).astype(np.uint8)
    pixels[16, 16] = 255
    return pixels


def rows(**fresh: float) -> list[dict[str, object]]:
    return drawn(**fresh).to_dict("records")


def test_without_fresh_there_are_the_columns_of_the_plan_alone() -> None:
    assert list(drawn().columns) == ["copy", *PLAN_COLUMNS]
    assert list(drawn(erase=0.5).columns) == ["copy", *PLAN_COLUMNS, *COLUMNS, "magnitude"]


def test_the_draws_of_the_plan_do_not_change() -> None:
    pd.testing.assert_frame_equal(drawn(zoom=0.5)[["copy", *PLAN_COLUMNS]], drawn())


def test_a_draw_follows_from_seed_epoch_and_picture() -> None:
    pd.testing.assert_frame_equal(drawn(zoom=0.5), drawn(zoom=0.5))
    for other in ({"seed": 2}, {"epoch": 2}):
        assert (drawn(zoom=0.5, **other)["scale"] != drawn(zoom=0.5)["scale"]).all()
    half = draw_fresh(IDS[::2], config(zoom=0.5), seed=1, epoch=1)
    np.testing.assert_array_equal(half["scale"], drawn(zoom=0.5)["scale"][::2])


def test_a_zoom_lies_within_its_bounds_in_both_directions() -> None:
    scale = drawn(zoom=0.5)["scale"]
    assert scale.between(1 / 1.5, 1.5).all()
    assert (scale < 0.9).any()
    assert (scale > 1.1).any()


def test_a_crop_stays_inside_the_picture() -> None:
    found = drawn(crop=0.25)
    assert found["scale"].between(1, 2).all()
    for axis in ("crop_x", "crop_y"):
        assert (found[axis].abs() <= (found["scale"] - 1) / 2).all()
    edge = np.zeros((32, 32, 3), np.uint8)
    edge[:2] = edge[-2:] = edge[:, :2] = edge[:, -2:] = 255
    whole = [warp(edge, row)[4:-4, 4:-4].max() for row in found.to_dict("records") if row["scale"] > 1.3]
    assert min(whole) == 0, "a crop of the middle does not show the edge"


def test_a_tone_changes_colors_and_no_places() -> None:
    grey = np.full((9, 9, 3), (100, 120, 140), np.uint8)
    means = [warp(grey, row).reshape(-1, 3).mean(axis=0) for row in rows(tone=0.3)]
    assert np.ptp([mean.mean() for mean in means]) > 20
    assert all(warp(grey, row).reshape(-1, 3).std(axis=0).max() == 0 for row in rows(tone=0.3)[:5])


def test_an_erased_rectangle_is_the_mean() -> None:
    share = np.mean([(warp(picture(), row) == picture()).all() for row in rows(erase=0.5)])
    assert 0.2 < share < 0.8
    for row in rows(erase=1.0)[:10]:
        changed = (warp(picture(), row) != picture()).any(axis=-1)
        assert 0.01 < changed.mean() < 0.25
        assert len(np.unique(warp(picture(), row)[changed], axis=0)) == 1


def test_operations_change_pictures_and_follow_from_their_draw() -> None:
    found = rows(operations=2, magnitude=0.6)
    results = [warp(picture(), row) for row in found]
    assert sum((result != picture()).any() for result in results) > 30
    for row, result in zip(found[:5], results, strict=False):
        np.testing.assert_array_equal(warp(picture(), row), result)


@pytest.mark.parametrize(
    "fresh", [{"crop": 0.0}, {"zoom": 2.0}, {"tone": 1.0}, {"operations": 9}, {"erase": -0.1}], ids=str
)
def test_bounds_are_checked(fresh: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(fresh))):
        FreshConfig.model_validate(fresh)
