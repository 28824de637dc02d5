"""Augmentation as a plan: a row of numbers per copy, and the warp that carries a row out."""

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
import pandas as pd
from pydantic import Field

from lamina.config import Config
from lamina.maths.color import LabPixels, RgbPixels

PLAN_COLUMNS: Final = (
    "angle",
    "shift_x",
    "shift_y",
    "flip_horizontal",
    "flip_vertical",
    "gain_red",
    "gain_green",
    "gain_blue",
)
_IDENTITY: Final = dict(zip(PLAN_COLUMNS, (0.0, 0.0, 0.0, False, False, 1.0, 1.0, 1.0), strict=True))


class AugmentConfig(Config):
    """Section `augment` of params.yaml."""

    copies: int = Field(ge=0, le=1000)
    rotation: float = Field(ge=0, le=180)
    shift: float = Field(ge=0, le=0.5)
    flip_horizontal: bool
    flip_vertical: bool
    color: float = Field(ge=0, lt=1)


def draw_plan(manifest: pd.DataFrame, config: AugmentConfig, seed: int) -> pd.DataFrame:
    """Draw what each copy of each picture shall look like.

    manifest: `id` (16 hexadecimal digits), `origin`, `label`. Returns `id`, `origin`, `label`, `copy` (0: the
    untouched original, then 1..copies) and `PLAN_COLUMNS`: degrees counter-clockwise, shares of the side,
    yes or no, factors. A picture's copies depend on the seed and its id alone, not on the other pictures.
    """
    repeats = config.copies + 1
    draws = np.stack([_draws([seed, int(picture, 16)], config.copies) for picture in manifest["id"]])
    untouched = np.zeros((len(manifest), 1, len(PLAN_COLUMNS)))
    values = np.concatenate([untouched, draws], axis=1).reshape(-1, len(PLAN_COLUMNS))
    plan = manifest[["id", "origin", "label"]].loc[manifest.index.repeat(repeats)].reset_index(drop=True)
    plan["copy"] = np.tile(np.arange(repeats, dtype=np.int16), len(manifest))
    for name, drawn in _within_reach(values, config).items():
        identity = _IDENTITY[name]
        plan[name] = np.where(plan["copy"] == 0, identity, drawn).astype(type(identity))
    return plan


def draw_anew(rows: pd.DataFrame, config: AugmentConfig, *, seed: int, epoch: int) -> pd.DataFrame:
    """Draw how rows look in one epoch of a training, all of them, what are originals in the plan as well.

    rows: `id`, `copy` (from 0). Returns, in their order, `copy` (counted from 1, since none is untouched) and
    `PLAN_COLUMNS`. What a row looks like depends on the seed, the epoch, its id and its copy alone.
    """
    pictures, which = np.unique(rows["id"].to_numpy(), return_inverse=True)
    most = int(rows["copy"].max()) + 1
    draws = np.stack([_draws([seed, epoch, int(picture, 16)], most) for picture in pictures])
    drawn = _within_reach(draws[which, rows["copy"].to_numpy()], config)
    return pd.DataFrame({"copy": rows["copy"].to_numpy() + 1} | drawn)


def _within_reach(values: np.ndarray, config: AugmentConfig) -> dict[str, np.ndarray]:
    """`PLAN_COLUMNS` from numbers between -1 and 1, (rows, columns)."""
    reach = (config.rotation, config.shift, config.shift, 0, 0, config.color, config.color, config.color)
    allowed = {"flip_horizontal": config.flip_horizontal, "flip_vertical": config.flip_vertical}
    return {
        name: (column > 0) & allowed[name] if name in allowed else _IDENTITY[name] + column * most
        for name, column, most in zip(PLAN_COLUMNS, values.T, reach, strict=True)
    }


def _draws(seed: list[int], copies: int) -> np.ndarray:
    """Uniform numbers from -1 to 1, (copies, columns)."""
    return np.random.default_rng(seed).uniform(-1, 1, (copies, len(PLAN_COLUMNS)))


def warp(rgb: RgbPixels, row: Mapping[str, Any]) -> RgbPixels:
    """Carry out one row of a plan.

    rgb: (S, S, 3) uint8; row: `PLAN_COLUMNS`. Returns (S, S, 3) uint8. Flips first, then the rotation
    about the middle, then the shift, sampled once (bilinear); points outside take the nearest pixel.
    """
    four = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)  # which OpenCV warps in half the time of three channels
    gains = np.diag([row["gain_red"], row["gain_green"], row["gain_blue"]])
    warped: RgbPixels = cv2.transform(cv2.cvtColor(_moved(four, row), cv2.COLOR_RGBA2RGB), gains)  # rounded, 0 to 255
    return warped


def turn(lab: LabPixels, row: Mapping[str, Any]) -> LabPixels:
    """Carry out one row of a plan, but for its gains: what colors are learned from keeps them.

    lab: (S, S, 3) int16 CIELAB x 100. Returns the same shape, sampled as by `warp`, in CIELAB.
    """
    turned: LabPixels = _moved(lab, row)
    return turned


def _moved(pixels: Any, row: Mapping[str, Any]) -> Any:
    side = pixels.shape[0]
    middle = (side - 1) / 2
    across = -1.0 if row["flip_horizontal"] else 1.0
    along = -1.0 if row["flip_vertical"] else 1.0
    angle = np.deg2rad(row["angle"])
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    matrix = np.array([[cosine * across, sine * along, 0.0], [-sine * across, cosine * along, 0.0]])
    shift = np.array([row["shift_x"], row["shift_y"]], float) * side
    matrix[:, 2] = middle + shift - matrix[:, :2] @ (middle, middle)
    return cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
