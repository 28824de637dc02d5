"""Contact sheets: rows of small pictures with labels on the left and captions below."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, features

from lamina.fonts import is_shaped, lettering

WHITE = (255, 255, 255)
INK = (31, 41, 55)
FAINT_INK = (75, 85, 99)
FRAME = (209, 213, 219)
MARGIN = 16
GAP = 8
LABEL_SIZE = 15
CAPTION_SIZE = 12
CAPTION_HEIGHT = 18
WIDEST_LABEL = 240
LONGEST = 300  # characters of a text, before it is cut to its room
ELLIPSIS = "…"


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    row_labels: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    cell: int | tuple[int, int] = 96,
) -> Image.Image:
    """Draw pictures in rows on a white page; the same arguments give the same pixels.

    Texts may be of any script; those that matplotlib's font lacks are drawn with a font of this machine
    (`lamina.fonts`).

    Args:
        rows: Pictures of each row, (height, width, 3) uint8 RGB of any size; rows may differ in length.
        row_labels: Text left of each row. Text that is too long ends in an ellipsis.
        captions: Text below each picture, in the shape of `rows`; may have several lines, or be empty.
        cell: Side in pixels of the square that each picture is fitted into, or its (width, height).

    Returns:
        An RGB picture.

    Raises:
        ValueError: If there is no row, or labels or captions do not match the rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row, got 0")
    texts = captions if captions is not None else [[""] * len(row) for row in rows]
    below = CAPTION_HEIGHT * max((text.count("\n") + 1 for row in captions or [] for text in row), default=0)
    across, down = (cell, cell) if isinstance(cell, int) else cell
    label_width = _label_width(row_labels)
    columns = max(len(row) for row in rows)
    width = 2 * MARGIN + label_width + columns * (across + GAP) - GAP
    height = 2 * MARGIN + len(rows) * (down + below + GAP) - GAP
    sheet = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, (row, label, row_texts) in enumerate(zip(rows, row_labels, texts, strict=True)):
        top = MARGIN + index * (down + below + GAP)
        text, font = _shorten(label, LABEL_SIZE, label_width)
        draw.text((MARGIN, top + down // 2), text, INK, font, anchor="lm")
        for column, (pixels, caption) in enumerate(zip(row, row_texts, strict=True)):
            left = MARGIN + label_width + column * (across + GAP)
            _place(sheet, draw, pixels, (left, top), (across, down))
            for number, line in enumerate(caption.split("\n")):
                place = (left + across // 2, top + down + 3 + number * CAPTION_HEIGHT)
                text, font = _shorten(line, CAPTION_SIZE, across)
                draw.text(place, text, FAINT_INK, font, anchor="ma")
    return sheet


def _place(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, pixels: np.ndarray, corner: tuple[int, int], cell: tuple[int, int]
) -> None:
    """Center a picture in its cell, keep its proportions, and draw a thin frame so that white borders show."""
    picture = _fitted(Image.fromarray(pixels), cell)
    left = corner[0] + (cell[0] - picture.width) // 2
    top = corner[1] + (cell[1] - picture.height) // 2
    sheet.paste(picture, (left, top))
    draw.rectangle((left, top, left + picture.width - 1, top + picture.height - 1), outline=FRAME)


def _fitted(picture: Image.Image, cell: tuple[int, int]) -> Image.Image:
    """Scale a picture to a cell; of a very slim one at least one pixel is left."""
    scale = min(cell[0] / picture.width, cell[1] / picture.height)
    if scale * min(picture.size) >= 1:
        return ImageOps.contain(picture, cell, Image.Resampling.LANCZOS)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _label_width(labels: Sequence[str]) -> int:
    lettered = (_lettered(label, LABEL_SIZE) for label in labels)
    widest = max((font.getlength(text) for text, font in lettered), default=0.0)
    return min(WIDEST_LABEL, round(widest)) + 2 * GAP if widest else 0


def evenly_spaced(count: int, most: int) -> NDArray[np.intp]:
    """Indices, at most `most` and evenly spaced, of `count` items; first and last are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _shorten(text: str, size: int, room: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return text that is at most `room` pixels wide, and the font to draw it with."""
    kept, font = _lettered(text, size)
    if font.getlength(kept) <= room:
        return kept, font
    while kept and font.getlength(kept + ELLIPSIS) > room:
        kept = kept[:-1]
    return kept + ELLIPSIS, font


def _lettered(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    drawn, path = lettering(text, LONGEST)
    return drawn, _font(path, size, is_shaped(drawn))


@cache
def _font(path: Path, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    # Other text is laid out in a way that does not depend on the text-shaping library of the machine.
    layout = ImageFont.Layout.RAQM if shaped and features.check("raqm") else ImageFont.Layout.BASIC
    return ImageFont.truetype(str(path), size, layout_engine=layout)
