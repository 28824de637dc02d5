"""Augmentation as a plan: a row of numbers per copy, and the warp that applies a row to a picture."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import cv2
import numpy as np
import pandas as pd
from pydantic import Field

from lamina.config import Config
from lamina.data.fresh import FreshConfig, draw, retouch
from lamina.maths.color import RgbPixels

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
    """Section `augment` of params.yaml.

    Attributes:
        copies: Warped copies per picture.
        rotation: Largest rotation in degrees, in both directions.
        shift: Largest shift, as a share of the side.
        flip_horizontal: Whether copies may be mirrored left to right.
        flip_vertical: Whether copies may be mirrored top to bottom.
        color: Largest change of each RGB channel: a factor between 1 - color and 1 + color.
        fresh: What runs with `augmentation: fresh` do in addition.
    """

    copies: int = Field(ge=0, le=1000)
    rotation: float = Field(ge=0, le=180)
    shift: float = Field(ge=0, le=0.5)
    flip_horizontal: bool
    flip_vertical: bool
    color: float = Field(ge=0, lt=1)
    fresh: FreshConfig = Field(default_factory=FreshConfig)


def draw_plan(manifest: pd.DataFrame, config: AugmentConfig, seed: int) -> pd.DataFrame:
    """Draw the random warp of each copy of each picture.

    The copies of a picture depend only on the seed and its id, not on the other pictures.

    Args:
        manifest: Columns `id` (16 hexadecimal digits), `origin` and `label`.
        config: Number of copies and bounds of the warps.
        seed: Seed of the random numbers.

    Returns:
        Columns `id`, `origin`, `label`, `copy` (0: the unchanged original, then 1 to `config.copies`) and
        `PLAN_COLUMNS`: degrees counter-clockwise, shares of the side, booleans, factors.
    """
    repeats = config.copies + 1
    values = np.zeros((len(manifest), repeats, len(PLAN_COLUMNS)))
    for place, picture in enumerate(manifest["id"]):
        values[place, 1:] = _uniform([seed, int(picture, 16)], config.copies)
    plan = manifest[["id", "origin", "label"]].loc[manifest.index.repeat(repeats)].reset_index(drop=True)
    plan["copy"] = np.tile(np.arange(repeats, dtype=np.int16), len(manifest))
    for name, drawn in _scale(values.reshape(-1, len(PLAN_COLUMNS)), config):
        identity = _IDENTITY[name]
        plan[name] = np.where(plan["copy"] == 0, identity, drawn).astype(type(identity))
    return plan


def draw_fresh(rows: pd.DataFrame, config: AugmentConfig, *, seed: int, epoch: int) -> pd.DataFrame:
    """Draw new warps for one epoch of training, for every row, originals included.

    The warp of a row depends only on the seed, the epoch, its id and its copy.

    Args:
        rows: Columns `id` and `copy` (from 0).
        config: Bounds of the warps.
        seed: Seed of the random numbers.
        epoch: Number of the epoch.

    Returns:
        Rows in the same order: `copy` (from 1, since no row is unchanged) and `PLAN_COLUMNS`; where the config has
        `fresh`, also `magnitude` and the columns of `lamina.data.fresh`.
    """
    pictures, which = np.unique(rows["id"].to_numpy(), return_inverse=True)
    most = int(rows["copy"].max()) + 1
    draws = np.stack([_uniform([seed, epoch, int(picture, 16)], most) for picture in pictures])
    drawn = dict(_scale(draws[which, rows["copy"].to_numpy()], config))
    plan = pd.DataFrame({"copy": rows["copy"].to_numpy() + 1} | drawn)
    if not config.fresh:
        return plan
    more = draw(rows["id"].to_numpy(), rows["copy"].to_numpy(), config.fresh, [seed, epoch])
    return plan.join(more).assign(magnitude=config.fresh.magnitude)


def _scale(values: np.ndarray, config: AugmentConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Scale numbers from -1 to 1, (rows, columns), to the ranges of `PLAN_COLUMNS`; yield one column at a time."""
    largest = (config.rotation, config.shift, config.shift, 0, 0, config.color, config.color, config.color)
    allowed = {"flip_horizontal": config.flip_horizontal, "flip_vertical": config.flip_vertical}
    for name, column, most in zip(PLAN_COLUMNS, values.T, largest, strict=True):
        yield name, (column > 0) & allowed[name] if name in allowed else _IDENTITY[name] + column * most


def _uniform(seed: list[int], copies: int) -> np.ndarray:
    """Uniform numbers from -1 to 1, (copies, columns)."""
    return np.random.default_rng(seed).uniform(-1, 1, (copies, len(PLAN_COLUMNS)))


def warp(rgb: RgbPixels, row: Mapping[str, Any]) -> RgbPixels:
    """Apply one row of a plan: flip, rotate and scale about the center, shift, then change the colors.

    Pixels are sampled once, bilinearly; points outside the picture take its nearest pixel.

    Args:
        rgb: (S, S, 3) uint8.
        row: `PLAN_COLUMNS`, perhaps with those of `lamina.data.fresh`.

    Returns:
        (S, S, 3) uint8.
    """
    rgba = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)  # OpenCV warps four channels in half the time of three
    gains = np.diag([row["gain_red"], row["gain_green"], row["gain_blue"]])
    warped: RgbPixels = cv2.transform(cv2.cvtColor(warp_geometry(rgba, row), cv2.COLOR_RGBA2RGB), gains)
    return retouch(warped, row, row["magnitude"]) if "draw" in row else warped


def warp_geometry(pixels: Any, row: Mapping[str, Any]) -> Any:
    """Apply one row of a plan without its gains, for tasks that learn true colors.

    A shift alone, without rotation and scale, is one of whole pixels: interpolation would blur small pictures, and a
    network that trains on blurred ones is worse on sharp ones.

    Args:
        pixels: (S, S, channels) of any type, such as CIELAB x 100 in int16.
        row: `PLAN_COLUMNS`.

    Returns:
        The same shape and type, sampled as by `warp`.
    """
    side = pixels.shape[0]
    middle = (side - 1) / 2
    across = -1.0 if row["flip_horizontal"] else 1.0
    along = -1.0 if row["flip_vertical"] else 1.0
    angle = np.deg2rad(row["angle"])
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    matrix = np.array([[cosine * across, sine * along, 0.0], [-sine * across, cosine * along, 0.0]])
    matrix *= row.get("scale", 1.0)
    shift = np.array([row["shift_x"] + row.get("crop_x", 0), row["shift_y"] + row.get("crop_y", 0)], float) * side
    if cosine == row.get("scale", 1.0) == 1:
        shift = np.round(shift)
    matrix[:, 2] = middle + shift - matrix[:, :2] @ (middle, middle)
    return cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
