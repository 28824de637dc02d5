"""Squares of pictures: which region becomes the square, and how it is resized."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from lamina.config import Config
from lamina.maths.color import RgbPixels

Box = Sequence[int]  # (left, top, right, bottom) in pixels

MEMORY: Final = 1024  # MiB
BOX_MARGIN: Final = 0.1  # share of the box's longer side, added on all sides to keep the object's border

Resize = Literal["pad", "crop", "stretch"]


class ConvertConfig(Config):
    """Section `convert` of params.yaml.

    Attributes:
        size: Side of the square in pixels.
        isolate: What the square shows: `none`: the whole picture, `box`: the labeled box, `cell`: the white blood cell
            that is found, on a flat background.
        resize: How a whole picture that is no square becomes one; see `whole_picture`.
        no_cell: Whether a picture without a cell is dropped or kept whole, if `isolate` is `cell`.
        depth: Bits of white, for pictures of more than 8 bits whose files do not say; `auto`: the fewest of 8, 10, 12,
            14 and 16 that hold the largest value of all of them.
        memory: MiB that decoding a picture may take; others are not read.
    """

    size: int = Field(ge=8, le=2048)
    isolate: Literal["none", "box", "cell"]
    resize: Resize = "pad"
    no_cell: Literal["drop", "whole"] = "drop"
    depth: int | Literal["auto"] = "auto"
    memory: int = Field(default=MEMORY, ge=1)

    @field_validator("depth", mode="before")
    @classmethod
    def _is_depth(cls, depth: object) -> object:
        if depth != "auto" and (type(depth) is not int or not 8 <= depth <= 16):
            raise ValueError("expected auto, or a number of bits from 8 to 16")
        return depth


class Region(NamedTuple):
    """The part of a picture that becomes a square, in pixels; may extend beyond the picture."""

    left: float
    top: float
    width: float
    height: float

    def scaled(self, factor: float) -> "Region":
        """Return the same region of the picture resized by `factor`."""
        return Region(*(value * factor for value in self))


def whole_picture(width: int, height: int, resize: Resize = "pad") -> Region:
    """Return the region that shows a whole picture.

    Args:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        resize: `pad`: a square of the longer side, the picture in the middle. `crop`: a square of the shorter side, in
            the middle of the picture. `stretch`: exactly the picture, so that its proportions change.
    """
    if resize == "stretch":
        return Region(0, 0, width, height)
    side = max(width, height) if resize == "pad" else min(width, height)
    return _square(width / 2, height / 2, side)


def square_around(box: Box) -> Region:
    """Return the square around a box: its longer side plus `BOX_MARGIN` on all sides, with the box in the middle."""
    left, top, right, bottom = box
    return _square((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * (1 + 2 * BOX_MARGIN))


def _square(x: float, y: float, side: float) -> Region:
    return Region(x - side / 2, y - side / 2, side, side)


def box_fits(box: Box, width: int, height: int) -> bool:
    """Whether a box has at least one pixel and its center lies in the picture."""
    left, top, right, bottom = box
    inside = 0 <= (left + right) / 2 < width and 0 <= (top + bottom) / 2 < height
    return inside and right > left and bottom > top


def cut_square(picture: Image.Image, size: int, region: Region) -> RgbPixels:
    """Resize a region of a picture to size x size.

    Shrinking averages areas, enlarging is bicubic. Beyond the picture its edge pixels repeat.

    Args:
        picture: Upright RGB.
        size: Side of the square in pixels.
        region: What to cut out, in pixels of the picture.

    Returns:
        (size, size, 3) uint8.
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
    """One axis of a region.

    Attributes:
        start: Start of the part inside the picture, in pixels of the picture.
        stop: End of that part.
        missing: Pixels of the result before and after that part.
    """

    start: float
    stop: float
    missing: tuple[int, int]


def span(start: float, side: float, extent: int, size: int) -> Span:
    """Intersect one axis of a region with a picture.

    The part inside the picture is rounded to whole pixels of the result, at least one.

    Args:
        start: Start of the region in pixels of the picture.
        side: Length of the region in pixels of the picture.
        extent: Length of the picture in pixels.
        size: Length of the result in pixels.
    """
    stop = start + side
    before = min(size - 1, max(0, round(-start / side * size)))
    after = min(size - 1 - before, max(0, round((stop - extent) / side * size)))
    return Span(max(0.0, start), min(float(extent), stop), (before, after))
