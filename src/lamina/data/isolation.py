"""Cells that were found beside the boxes that were told: how far they agree, and a sheet to look at."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.cell import agreement, find_cell, isolate_cell
from lamina.data.decoding import decode, open_picture
from lamina.data.pixels import box_fits
from lamina.data.shards import Shard, read_shard
from lamina.data.sheets import contact_sheet
from lamina.maths.color import RgbPixels

HIT: Final = 0.5  # intersection over union from which a found cell counts as the one told, as in Pascal VOC

_IN_A_ROW: Final = 6
_CELL: Final = (192, 144)  # pixels in the sheet
_TOLD, _FOUND = (250, 204, 21), (22, 163, 74)  # yellow, green


def compare_cells(pictures: pd.DataFrame) -> pd.DataFrame:
    """Hold the cells found against the boxes told, where a picture has just one.

    pictures: `id`, `name`, `boxes`, `cell`, `error`, `width`, `height`, and where the bytes are.
    Returns the readable ones: `id`, `name`, `cell`, `told` (null where there is not one box that fits), `agreement`
    (intersection over union, 0 where no cell was found, missing where none was told) and where the bytes are.
    """
    readable = pictures[pictures["error"] == ""]
    rows = zip(readable["boxes"], readable["width"], readable["height"], strict=True)
    told = [boxes[0] if len(boxes) == 1 and box_fits(boxes[0], *shape) else None for boxes, *shape in rows]
    compared = readable[["id", "name", "cell", "part", "group", "row"]].assign(
        told=pd.Series(told, readable.index, dtype=object)
    )
    pairs = zip(compared["cell"], compared["told"], strict=True)
    compared["agreement"] = [
        np.nan if box is None else 0.0 if cell is None else agreement(cell, box) for cell, box in pairs
    ]
    return compared.reset_index(drop=True)


def cells_sheet(raw: Path, compared: pd.DataFrame) -> Image.Image | None:
    """Pictures with what was found (green) and told (yellow), and below each the cell by itself.

    compared: of `compare_cells`. Where boxes were told the pictures that agree least, those in the middle and those
    that agree best; else some, evenly chosen. None where no cell was found.
    """
    found = compared[compared["cell"].notna()].sort_values(["agreement", "name"], ignore_index=True)
    if not len(found):
        return None
    told = found[found["agreement"].notna()]
    if len(told) > 3 * _IN_A_ROW:
        middle = (len(told) - _IN_A_ROW) // 2
        starts = {"agree least": 0, "in the middle": middle, "agree best": len(told) - _IN_A_ROW}
        rows = {words: told[start : start + _IN_A_ROW] for words, start in starts.items()}
    else:
        rows = {"found": found.iloc[np.unique(np.linspace(0, len(found) - 1, _IN_A_ROW).round().astype(int))]}
    drawn = [(words, [_draw(raw, row) for _, row in some.iterrows()]) for words, some in rows.items()]
    pictures = [list(row) for _, pairs in drawn for row in zip(*pairs, strict=True)]
    captions = [
        line for some in rows.values() for line in ([_caption(row) for _, row in some.iterrows()], [""] * len(some))
    ]
    return contact_sheet(pictures, [label for words in rows for label in (words, "")], captions, cell=_CELL)


def _draw(raw: Path, row: pd.Series) -> tuple[RgbPixels, RgbPixels]:
    """The picture with outline and box, and the cell by itself."""
    shard = Shard(part=row["part"], group=row["group"], rows=0, size=0)
    encoded = read_shard(raw, shard, ["encoded"], [row["row"]])["encoded"][0]
    rgb = np.array(decode(open_picture(encoded)))
    cell = find_cell(rgb)
    alone = np.zeros((1, 1, 3), np.uint8) if cell is None else isolate_cell(rgb, cell, _CELL[1])
    thick = max(2, round(max(rgb.shape) / 100))
    if row["told"] is not None:
        left, top, right, bottom = (int(side) for side in row["told"])
        cv2.rectangle(rgb, (left, top), (right, bottom), _TOLD, thick)
    if cell is not None:
        cv2.polylines(rgb, [np.rint(cell.outline).astype(np.int32)], True, _FOUND, thick)
    return rgb, alone


def _caption(row: pd.Series) -> str:
    name = str(row["name"]).rpartition("/")[2]
    return name if np.isnan(row["agreement"]) else f"{row['agreement']:.2f}  {name}"
