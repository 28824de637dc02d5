"""Stronger warps for runs that draw new ones in every epoch: crops, tones, random operations, erasing."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageOps
from pydantic import Field

from lamina.config import Config
from lamina.maths.color import RgbPixels

COLUMNS: Final = ("scale", "crop_x", "crop_y", "brightness", "contrast", "saturation", "operations", "draw", "erased")
_ERASED: Final = (0.02, 0.2)  # share of the area
_ASPECT: Final = 3.0  # of an erased rectangle, at most


class FreshConfig(Config):
    """Section `augment.fresh` of params.yaml: added to the section's warps where a run has `augmentation: fresh`.

    Attributes:
        crop: smallest share of the area that a random crop keeps; 1: no crop (Szegedy et al., CVPR 2015).
        zoom: largest change of the scale: a factor between 1 / (1 + zoom) and 1 + zoom.
        tone: largest change of brightness, contrast and saturation: factors between 1 - tone and 1 + tone.
        operations: number of operations of RandAugment on each picture (Cubuk et al., NeurIPS 2020): those that change
            colors, as warps are drawn anyway.
        magnitude: their strength, 0 to 1.
        erase: probability that a rectangle is replaced by the picture's mean (Zhong et al., AAAI 2020).
    """

    crop: float = Field(default=1.0, gt=0, le=1)
    zoom: float = Field(default=0.0, ge=0, le=1)
    tone: float = Field(default=0.0, ge=0, lt=1)
    operations: int = Field(default=0, ge=0, le=4)
    magnitude: float = Field(default=0.5, ge=0, le=1)
    erase: float = Field(default=0.0, ge=0, le=1)

    def __bool__(self) -> bool:
        return self != FreshConfig(magnitude=self.magnitude)


def draw(ids: np.ndarray, which: np.ndarray, config: FreshConfig, seed: list[int]) -> pd.DataFrame:
    """Draw the columns `COLUMNS` for some rows.

    Args:
        ids: (n,) of the pictures, 16 hexadecimal digits.
        which: (n,) number of the copy; equal pictures differ in it.
        config: bounds.
        seed: with the epoch.

    Returns:
        scale: factor; crop_x, crop_y: shares of the side, added to the shift; brightness, contrast, saturation:
        factors; operations: their number; erased: whether a rectangle is; draw: seed of both.
    """
    numbers = [np.random.default_rng([*seed, 1, int(one, 16), int(copy)]) for one, copy in zip(ids, which, strict=True)]
    values = np.stack([random.uniform(-1, 1, 8) for random in numbers])
    area = config.crop + (1 - config.crop) * (values[:, 0] + 1) / 2
    return pd.DataFrame(
        {
            "scale": (1 + config.zoom) ** values[:, 1] / np.sqrt(area),
            "crop_x": values[:, 2] * (1 / np.sqrt(area) - 1) / 2,
            "crop_y": values[:, 3] * (1 / np.sqrt(area) - 1) / 2,
            **{name: 1 + config.tone * values[:, place] for place, name in enumerate(_TONES.values(), start=4)},
            "operations": config.operations,
            "draw": [int(random.integers(1 << 62)) for random in numbers],
            "erased": (values[:, 7] + 1) / 2 < config.erase,
        }
    )


def retouch(rgb: RgbPixels, row: Mapping[str, Any], magnitude: float) -> RgbPixels:
    """Apply everything but the scale, which is part of the warp.

    Args:
        rgb: (S, S, 3) uint8.
        row: `COLUMNS`.
        magnitude: of the operations.

    Returns:
        (S, S, 3) uint8.
    """
    random = np.random.default_rng(row["draw"])
    picture = Image.fromarray(rgb)
    for enhancer, name in _TONES.items():
        if row[name] != 1:
            picture = enhancer(picture).enhance(row[name])
    for number in random.choice(len(_OPERATIONS), row["operations"], replace=False):
        strength = magnitude * float(random.choice([-1, 1]))
        picture = _OPERATIONS[number](picture, strength)
    pixels: RgbPixels = np.array(picture)
    if row["erased"]:
        _erase(pixels, random)
    return pixels


def _erase(pixels: RgbPixels, random: np.random.Generator) -> None:
    """Replace a random rectangle by the picture's mean, in place."""
    side = len(pixels)
    area, aspect = random.uniform(*_ERASED), _ASPECT ** random.uniform(-1, 1)
    height, width = (min(side, max(1, round(side * np.sqrt(area * one)))) for one in (aspect, 1 / aspect))
    top, left = random.integers(side - height + 1), random.integers(side - width + 1)
    pixels[top : top + height, left : left + width] = cv2.mean(pixels)[:3]


_TONES: Final[Mapping[Callable[[Image.Image], Any], str]] = MappingProxyType(
    {ImageEnhance.Brightness: "brightness", ImageEnhance.Contrast: "contrast", ImageEnhance.Color: "saturation"}
)

# those of RandAugment that change colors; strength from -1 to 1
_OPERATIONS: Final[tuple[Callable[[Image.Image, float], Image.Image], ...]] = (
    lambda picture, strength: ImageOps.autocontrast(picture),
    lambda picture, strength: ImageOps.equalize(picture),
    lambda picture, strength: ImageOps.posterize(picture, 8 - round(4 * abs(strength))),
    lambda picture, strength: ImageOps.solarize(picture, 256 - round(256 * abs(strength))),
    lambda picture, strength: ImageEnhance.Sharpness(picture).enhance(1 + 0.9 * strength),
    lambda picture, strength: ImageEnhance.Brightness(picture).enhance(1 + 0.9 * strength),
    lambda picture, strength: ImageEnhance.Contrast(picture).enhance(1 + 0.9 * strength),
    lambda picture, strength: ImageEnhance.Color(picture).enhance(1 + 0.9 * strength),
)
