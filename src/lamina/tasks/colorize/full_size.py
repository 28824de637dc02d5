"""Color at full size, from a network that colors small squares.

The network says a and b of every pixel of the square that `convert` makes of a picture; lightness is the picture's own,
to its last bit. Brought up to size by itself, color would bleed over edges that the square is too small to show. So it
follows the lightness that the square lacks: where, around a pixel of the square, a and b rise with lightness, by so
much they rise with the difference between the picture's lightness and the square's. Where lightness does not differ, or
says nothing of color, that is bilinear.
Source: the slopes are those of the guided filter (He, Sun, Tang 2013; found at a small size: He and Sun 2015), which
would also blur what the network said.
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

# measured with the true color of photographs as what the network says: of windows of 3, 5 and 9 pixels and variances of
# 10, 40 and 160 these leave the least error, 0.85 of that of bilinear (MSE of a and b, squares of 96)
_WINDOW: Final = (3, 3)
_FLAT: Final = 40.0  # variance of L, below which an edge counts less and less
_BAND: Final = 2**13  # pixels at once: what they need stays in a core's cache


def load_colorizer(path: Path, size: int) -> Any:
    """Load the network from lightness to colors inside a run's saved model.

    Args:
        path: of `model.keras`.
        size: side in pixels of the squares that it shall color.

    Raises:
        UserError: if the model holds no such network, or one for squares of another size.
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
    """Yield every original in color: (H, W, 3) sRGB, of the type that `depths` names.

    model: from (n, S, S, 1) L to (n, S, S, 2) a and b, all of CIELAB; strength: what a and b are multiplied by.
    Raises UserError where the network says what is no number.
    """
    lab = srgb_to_lab(np.stack([original.square for original in originals]))
    squares: Floats = lab[..., :1].astype(np.float32) / np.float32(UNITS)
    for original, depth, square, chroma in zip(originals, depths, squares, predict_ab(model, squares), strict=True):
        light, color = square[original.inside][..., 0], chroma[original.inside]
        yield enlarge(original.pixels, light, color * np.float32(strength), depth)


def predict_ab(model: Any, squares: Floats) -> Floats:
    """What the network says of squares, (n, S, S, 1) L: (n, S, S, 2) float32 a and b."""
    at_once = max(1, min(MOST_AT_ONCE, BATCH_PIXELS // squares[0].size))
    chroma: Floats = np.asarray(model.predict(squares, batch_size=at_once, verbose=0), np.float32)
    if not np.isfinite(chroma).all():
        raise UserError(f"{model.name}: its colors are not finite numbers; train the run again")
    return chroma


def enlarge(pixels: Codes, light: Floats, chroma: Floats, depth: np.dtype[Any]) -> Codes:
    """Give a picture the color that was found for a smaller one of the same.

    pixels: (H, W) or (H, W, 3), the picture, whose lightness is kept; light: (h, w), the small one's L;
    chroma: (h, w, 2), its a and b. Returns (H, W, 3) of type `depth`.
    """
    height, width = pixels.shape[:2]
    lines = follow(light, chroma)
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


def follow(light: Floats, chroma: Floats) -> Floats:
    """How color follows lightness around each pixel: (4, h, w) float32, slopes of a and b over L, then what they start
    from, so that slope x L + start is the pixel's own a and b.

    light: (h, w), L; chroma: (h, w, 2).
    """
    values = np.dstack([light, chroma]).astype(np.float64)
    values -= values.mean(axis=(0, 1))  # small numbers, whose squares lose nothing
    means = _around(values)
    both = _around(values * values[..., :1]) - means * means[..., :1]
    slopes = _around(both[..., 1:] / (both[..., :1] + _FLAT))
    return np.moveaxis(np.dstack([slopes, chroma - slopes * light[..., None]]), -1, 0).astype(np.float32)


def _around(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = cv2.blur(values, _WINDOW, borderType=cv2.BORDER_REFLECT)
    return found.reshape(values.shape)


def _places(length: int, known: int) -> tuple[np.ndarray, np.ndarray, Floats]:
    """For each of `length` pixels its two neighbours among `known` over the same extent, and the second's share."""
    place = np.clip((np.arange(length) + 0.5) * known / length - 0.5, 0, known - 1)
    before = place.astype(np.intp)
    return before, np.minimum(before + 1, known - 1), (place - before).astype(np.float32)


def _bilinear(length: int, known: int) -> Floats:
    """(length, known) weights, each row's sum 1."""
    before, after, share = _places(length, known)
    weights = np.zeros((length, known), np.float32)
    rows = np.arange(length)
    weights[rows, before] = 1 - share
    weights[rows, after] += share
    return weights


def _widen(lines: Floats, width: int) -> Floats:
    """Bring the last axis up to `width`."""
    before, after, share = _places(width, lines.shape[-1])
    wide: Floats = lines[..., after] - lines[..., before]
    wide *= share
    wide += lines[..., before]
    return wide
