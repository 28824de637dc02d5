"""Color at full size, from a network that colors small squares.

The network predicts a and b for every pixel of the square that `convert` makes of a picture; lightness is exactly that
of the picture. Simple enlarging would let color bleed over edges that the small square does not show. So color follows
lightness: around each pixel of the square, the slopes of a and b over lightness are computed, and multiplied by the
difference between the picture's lightness and the square's. Where lightness does not differ or does not predict color,
this equals bilinear enlarging.
Source: slopes as in the guided filter (He, Sun, Tang 2013; at a small size: He and Sun 2015), which would also blur the
prediction.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from lamina.data.originals import Original
from lamina.errors import UserError
from lamina.maths.color import UNITS, Floats, srgb_to_lab
from lamina.maths.gamut import Codes, lightness, paint
from lamina.models.loading import load_model
from lamina.tasks.colorize.network import colorizer_of

BATCH_PIXELS: Final = 2**19  # of squares that the network sees at once
MOST_AT_ONCE: Final = 32

# Measured with the true color of photographs as prediction: of windows of 3, 5 and 9 pixels and variances of 10, 40 and
# 160 these have the smallest error, 0.85 of the bilinear one (MSE of a and b, squares of 96).
_WINDOW: Final = (3, 3)
_FLAT: Final = 40.0  # variance of L below which edges count less
_BAND: Final = 2**13  # pixels at once, to fit into a core's cache


def load_colorizer(path: Path, size: int) -> Any:
    """Load the network from lightness to colors inside a run's saved model.

    Args:
        path: Of `model.keras`.
        size: Side in pixels of the squares.

    Raises:
        UserError: If the model holds no such network, or one for another size.
    """
    model = colorizer_of(load_model(path))
    shapes = [tuple(getattr(model, name)) for name in ("input_shape", "output_shape")]
    if shapes != [(None, size, size, 1), (None, size, size, 2)]:
        raise UserError(
            f"{path}: expected a network from (n, {size}, {size}, 1) to (n, {size}, {size}, 2), "
            f"found {shapes[0]} to {shapes[1]}; train the run again"
        )
    return model


def colorize(
    model: Any, originals: Sequence[Original], depths: Sequence[np.dtype[Any]], strength: float = 1.0
) -> Iterator[Codes]:
    """Color pictures at full size.

    Args:
        model: From (n, S, S, 1) L to (n, S, S, 2) a and b, in CIELAB units.
        originals: The pictures.
        depths: Type of each result.
        strength: Factor of a and b.

    Yields:
        Every picture in color, (H, W, 3) sRGB.

    Raises:
        UserError: If a prediction is not finite.
    """
    lab = srgb_to_lab(np.stack([original.square for original in originals]))
    squares: Floats = lab[..., :1].astype(np.float32) / np.float32(UNITS)
    for original, depth, square, chroma in zip(originals, depths, squares, predict_ab(model, squares), strict=True):
        light, color = square[original.inside][..., 0], chroma[original.inside]
        yield enlarge(original.pixels, light, color * np.float32(strength), depth)


def predict_ab(model: Any, squares: Floats) -> Floats:
    """Predict the color of squares.

    Args:
        model: As of `colorize`.
        squares: (n, S, S, 1) float32 L.

    Returns:
        (n, S, S, 2) float32 a and b.

    Raises:
        UserError: If a prediction is not finite.
    """
    at_once = max(1, min(MOST_AT_ONCE, BATCH_PIXELS // squares[0].size))
    chroma: Floats = np.asarray(model.predict(squares, batch_size=at_once, verbose=0), np.float32)
    if not np.isfinite(chroma).all():
        raise UserError(f"{model.name}: its colors are not finite numbers; train the run again")
    return chroma


def enlarge(pixels: Codes, light: Floats, chroma: Floats, depth: np.dtype[Any]) -> Codes:
    """Transfer the color of a small picture to the large one, and keep the lightness of the large one.

    Args:
        pixels: (H, W) or (H, W, 3), the large picture.
        light: (h, w), L of the small one.
        chroma: (h, w, 2), a and b of the small one.
        depth: Type of the result.

    Returns:
        (H, W, 3) sRGB of type `depth`.
    """
    height, width = pixels.shape[:2]
    lines = local_slopes(light, chroma)
    if height < lines.shape[1] or width < lines.shape[2]:
        shrunk = cv2.resize(lines.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_AREA)
        lines = np.ascontiguousarray(shrunk.transpose(2, 0, 1))
    weights = _bilinear(height, lines.shape[1])
    across = _widen(lines, width)
    out = np.empty((height, width, 3), depth)
    rows = max(1, _BAND // width)
    for first in range(0, height, rows):
        some = slice(first, first + rows)
        near = np.flatnonzero(weights[some].any(axis=0))
        near_rows = slice(near[0], near[-1] + 1)
        slopes_offsets = np.matmul(weights[some, near_rows], across[:, near_rows])
        band = lightness(pixels[some])
        color = slopes_offsets[:2]
        color *= band
        color += slopes_offsets[2:]
        paint(band, color, out[some])
    return out


def local_slopes(light: Floats, chroma: Floats) -> Floats:
    """Fit lines of a and b over L around each pixel.

    Args:
        light: (h, w), L.
        chroma: (h, w, 2), a and b.

    Returns:
        (4, h, w) float32: slopes of a and b, then their offsets: slope x L + offset is the pixel's a and b.
    """
    values = np.dstack([light, chroma]).astype(np.float64)
    values -= values.mean(axis=(0, 1))  # smaller numbers have more exact squares
    means = _around(values)
    both = _around(values * values[..., :1]) - means * means[..., :1]
    slopes = _around(both[..., 1:] / (both[..., :1] + _FLAT))
    return np.moveaxis(np.dstack([slopes, chroma - slopes * light[..., None]]), -1, 0).astype(np.float32)


def _around(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = cv2.blur(values, _WINDOW, borderType=cv2.BORDER_REFLECT)
    return found.reshape(values.shape)


def _places(length: int, known: int) -> tuple[np.ndarray, np.ndarray, Floats]:
    """Return for each of `length` pixels its two neighbors among `known` pixels, and the second's weight."""
    place = np.clip((np.arange(length) + 0.5) * known / length - 0.5, 0, known - 1)
    before = place.astype(np.intp)
    return before, np.minimum(before + 1, known - 1), (place - before).astype(np.float32)


def _bilinear(length: int, known: int) -> Floats:
    """Return weights, (length, known), with a sum of 1 in each row."""
    before, after, share = _places(length, known)
    weights = np.zeros((length, known), np.float32)
    rows = np.arange(length)
    weights[rows, before] = 1 - share
    weights[rows, after] += share
    return weights


def _widen(lines: Floats, width: int) -> Floats:
    """Enlarge the last axis to `width`, bilinearly."""
    before, after, share = _places(width, lines.shape[-1])
    wide: Floats = lines[..., after] - lines[..., before]
    wide *= share
    wide += lines[..., before]
    return wide
