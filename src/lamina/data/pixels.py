"""Squares of pictures: where they lie, and how they are brought to size."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from lamina.config import Config
from lamina.maths.color import RgbPixels

Box = Sequence[int]  # (left, top, right, bottom) in pixels

BOX_MARGIN: Final = 0.1  # of the box's longer side, added all around, so that the object's rim stays


Fit = Literal["pad", "crop", "stretch"]


class ConvertConfig(Config):
    """Section `convert` of params.yaml.

    fit: how a whole picture that is no square becomes one, see `whole`. no_cell: what becomes of a picture in which no
    cell is found, where `isolate` is `cell`.
    """

    size: int = Field(ge=8, le=2048)
    isolate: Literal["none", "box", "cell"]
    resize: Fit = "pad"
    no_cell: Literal["drop", "whole"] = "drop"


class Region(NamedTuple):
    """The part of a picture that becomes a square, in its pixels; it may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float

    def scaled(self, factor: float) -> "Region":
        """The same part of the picture at another size."""
        return Region(*(value * factor for value in self))


def whole(width: int, height: int, fit: Fit = "pad") -> Region:
    """A whole picture as a square.

    fit: pad: the square over its longer side, the picture in the middle; crop: the square over its shorter side, in the
    middle of the picture; stretch: all of it and nothing else, however wide.
    """
    if fit == "stretch":
        return Region(0, 0, width, height)
    side = max(width, height) if fit == "pad" else min(width, height)
    return _square(width / 2, height / 2, side)


def around(box: Box) -> Region:
    """The square over a box's longer side, with `BOX_MARGIN` all around, the box in its middle."""
    left, top, right, bottom = box
    return _square((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * (1 + 2 * BOX_MARGIN))


def _square(x: float, y: float, side: float) -> Region:
    return Region(x - side / 2, y - side / 2, side, side)


def box_fits(box: Box, width: int, height: int) -> bool:
    """Whether a box holds at least a pixel and its middle lies in the picture."""
    left, top, right, bottom = box
    inside = 0 <= (left + right) / 2 < width and 0 <= (top + bottom) / 2 < height
    return inside and right > left and bottom > top


def cut_square(picture: Image.Image, size: int, region: Region) -> RgbPixels:
    """Bring a part of a picture to size x size.

    picture: RGB, upright. Returns (size, size, 3) uint8. Shrinking averages areas, enlarging is bicubic; where
    the part reaches beyond the picture, its nearest pixels go on.
    """
    columns = span(region.left, region.width, picture.width, size)
    rows = span(region.top, region.height, picture.height, size)
    shape = (size - sum(columns.missing), size - sum(rows.missing))
    kernel = Image.Resampling.BOX if min(region.width, region.height) >= size else Image.Resampling.BICUBIC
    area = (columns.start, rows.start, columns.stop, rows.stop)
    inside = np.asarray(picture.resize(shape, kernel, box=area))
    missing = (rows.missing, columns.missing, (0, 0))
    return np.pad(inside, missing, mode="edge") if any(map(any, missing)) else inside


class Span(NamedTuple):
    """One axis of a region: its part in the picture, in the picture's pixels, and the pixels of the result that
    `missing` tells before and after that part."""

    start: float
    stop: float
    missing: tuple[int, int]


def span(start: float, side: float, extent: int, size: int) -> Span:
    """Where one axis of a region meets a picture.

    start, side: of the region, extent: of the picture, in the picture's pixels; size: pixels of the result. Its part
    in the picture goes to whole pixels of the result, of which one at least is left.
    """
    stop = start + side
    before = min(size - 1, max(0, round(-start / side * size)))
    after = min(size - 1 - before, max(0, round((stop - extent) / side * size)))
    return Span(max(0.0, start), min(float(extent), stop), (before, after))
