"""From encoded pictures to one CIELAB array: upright, square, small."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from lamina.config import Config
from lamina.data.decoding import decode, open_picture, shown_size
from lamina.data.shards import Shard, read_shard
from lamina.maths.color import RgbPixels, srgb_to_lab

BOX_MARGIN: Final = 0.1  # of the box's longer side, added all around, so that the object's rim stays


class ConvertConfig(Config):
    """Section `convert` of params.yaml."""

    size: int = Field(ge=8, le=2048)
    isolate: Literal["none", "box"]


class Region(NamedTuple):
    """A square of a picture, in its pixels; it may reach beyond the picture."""

    left: float
    top: float
    side: float


def whole(width: int, height: int) -> Region:
    """The square over the longer side, the picture in its middle."""
    side = max(width, height)
    return Region((width - side) / 2, (height - side) / 2, side)


def around(box: Sequence[int]) -> Region:
    """The square over a box's longer side, with `BOX_MARGIN` all around, the box in its middle."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) * (1 + 2 * BOX_MARGIN)
    return Region((left + right - side) / 2, (top + bottom - side) / 2, side)


def cut_square(encoded: bytes, size: int, box: Sequence[int] | None = None) -> RgbPixels:
    """Decode a picture and bring a square of it to size x size.

    box: (left, top, right, bottom) of what to cut out, in pixels as shown; None: the whole picture.
    Returns (size, size, 3) uint8. Shrinking averages areas, enlarging is bicubic; where the square
    reaches beyond the picture, its nearest pixels go on. Raises UnreadableError.
    """
    picture = open_picture(encoded)
    width, height = shown_size(picture)
    region = whole(width, height) if box is None else around(box)
    upright = decode(picture, least=size / region.side)
    scale = upright.width / width
    return _resample(upright, Region(*(value * scale for value in region)), size)


def _resample(picture: Image.Image, region: Region, size: int) -> RgbPixels:
    columns = _span(region.left, region.side, picture.width, size)
    rows = _span(region.top, region.side, picture.height, size)
    shape = (size - sum(columns.missing), size - sum(rows.missing))
    kernel = Image.Resampling.BOX if region.side >= size else Image.Resampling.BICUBIC
    area = (columns.start, rows.start, columns.stop, rows.stop)
    inside = np.asarray(picture.resize(shape, kernel, box=area))
    missing = (rows.missing, columns.missing, (0, 0))
    return np.pad(inside, missing, mode="edge") if any(map(any, missing)) else inside


class _Span(NamedTuple):
    start: float  # in the picture's pixels
    stop: float
    missing: tuple[int, int]  # pixels of the result before and after


def _span(start: float, side: float, extent: int, size: int) -> _Span:
    """Where one axis of a region meets a picture of this extent; the picture's edge goes to whole pixels."""
    stop = start + side
    before = min(size - 1, max(0, round(-start / side * size)))
    after = min(size - 1 - before, max(0, round((stop - extent) / side * size)))
    return _Span(max(0.0, start), min(float(extent), stop), (before, after))


def convert_rows(
    raw: Path, shard: Shard, rows: Sequence[int], boxes: Sequence[Sequence[int] | None], size: int
) -> np.ndarray:
    """Bring some of a shard's pictures to CIELAB: (len(rows), size, size, 3) int16, x 100."""
    encoded = read_shard(raw, shard, ["encoded"])["encoded"]
    lab = np.empty((len(rows), size, size, 3), np.int16)
    for index, (row, box) in enumerate(zip(rows, boxes, strict=True)):
        lab[index] = srgb_to_lab(cut_square(encoded[row], size, box))
    return lab
