"""The plan is bounded, reproducible and independent per picture; the warp applies the plan."""

import numpy as np
import pandas as pd
import pytest

from lamina.data.augmentation import PLAN_COLUMNS, AugmentConfig, draw_plan, warp

CONFIG = AugmentConfig(copies=3, rotation=20.0, shift=0.1, flip_horizontal=True, flip_vertical=False, color=0.05)
STILL = dict(zip(PLAN_COLUMNS, (0.0, 0.0, 0.0, False, False, 1.0, 1.0, 1.0), strict=True))


def manifest(count: int) -> pd.DataFrame:
    ids = [f"{number * 7919:016x}" for number in range(count)]
    return pd.DataFrame({"id": ids, "origin": ids, "label": "x"})


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (33, 33, 3), dtype=np.uint8)


def test_every_picture_has_its_original_and_its_copies_within_bounds() -> None:
    plan = draw_plan(manifest(200), CONFIG, seed=1)
    assert (plan.groupby("id").size() == CONFIG.copies + 1).all()
    copies = plan[plan["copy"] > 0]
    assert copies["angle"].abs().max() <= 20
    assert copies[["shift_x", "shift_y"]].abs().max(axis=None) <= 0.1
    assert (copies[["gain_red", "gain_green", "gain_blue"]] - 1).abs().max(axis=None) <= 0.05
    assert 0.4 < copies["flip_horizontal"].mean() < 0.6
    assert not copies["flip_vertical"].any()
    assert copies["angle"].std() > 5


@pytest.mark.parametrize("flip", [False, True])
def test_a_shift_alone_moves_whole_pixels_and_blurs_nothing(flip: bool) -> None:
    original = picture()[:, ::-1] if flip else picture()
    moved = warp(picture(), STILL | {"flip_horizontal": flip, "shift_x": 2.4 / 33, "shift_y": -0.6 / 33})
    np.testing.assert_array_equal(moved[:-1, 2:], original[1:, :-2])
    np.testing.assert_array_equal(moved[-1, 2:], original[-1, :-2])  # outside, the nearest pixel


def test_originals_are_untouched() -> None:
    plan = draw_plan(manifest(5), CONFIG, seed=1)
    for row in plan[plan["copy"] == 0][list(PLAN_COLUMNS)].to_dict("records"):
        assert row == STILL
        np.testing.assert_array_equal(warp(picture(), row), picture())


def test_a_picture_keeps_its_copies_when_others_are_added() -> None:
    few, many = (draw_plan(manifest(count), CONFIG, seed=1) for count in (5, 50))
    pd.testing.assert_frame_equal(many.head(len(few)), few)


def test_another_seed_draws_other_copies() -> None:
    assert (draw_plan(manifest(5), CONFIG, seed=1)["angle"] != draw_plan(manifest(5), CONFIG, seed=2)["angle"]).any()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"flip_horizontal": True}, lambda rgb: rgb[:, ::-1]),
        ({"flip_vertical": True}, lambda rgb: rgb[::-1]),
        ({"angle": 90.0}, lambda rgb: np.rot90(rgb)),
        ({"angle": 180.0}, lambda rgb: rgb[::-1, ::-1]),
        ({"shift_x": 3 / 33}, lambda rgb: np.concatenate([np.repeat(rgb[:, :1], 3, axis=1), rgb[:, :-3]], axis=1)),
        ({"shift_y": -2 / 33}, lambda rgb: np.concatenate([rgb[2:], np.repeat(rgb[-1:], 2, axis=0)], axis=0)),
    ],
)
def test_whole_moves_are_exact(change: dict, expected) -> None:
    np.testing.assert_array_equal(warp(picture(), STILL | change), expected(picture()))


def test_gains_scale_channels_and_saturate() -> None:
    warped = warp(picture(), STILL | {"gain_red": 1.05, "gain_blue": 0.95})
    np.testing.assert_array_equal(warped[..., 0], np.minimum(255, np.rint(picture()[..., 0] * np.float32(1.05))))
    np.testing.assert_array_equal(warped[..., 1], picture()[..., 1])
    np.testing.assert_array_equal(warped[..., 2], np.rint(picture()[..., 2] * np.float32(0.95)))


def test_the_argument_is_not_changed() -> None:
    rgb = picture()
    warp(rgb, STILL | {"angle": 10.0, "gain_red": 0.9})
    np.testing.assert_array_equal(rgb, picture())
