"""Compares the cells that are found with labeled boxes, and draws a sheet of both."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.cell import box_overlap, find_cell, isolate_cell
from lamina.data.decoding import decode, open_for
from lamina.data.pixels import ConvertConfig, box_fits
from lamina.data.shards import Shard, read_shard
from lamina.data.sheets import contact_sheet, evenly_spaced
from lamina.maths.color import RgbPixels
from lamina.text import printable

HIT: Final = 0.5  # a found cell is correct from this intersection over union on, as in Pascal VOC

_PER_ROW: Final = 6
_CELL: Final = (192, 144)  # pixels on the sheet
_LABELED, _FOUND = (250, 204, 21), (22, 163, 74)  # yellow, green


def compare_cells(pictures: pd.DataFrame) -> pd.DataFrame:
    """Compare the found cells with the labeled boxes, for pictures with exactly one box.

    Args:
        pictures: Columns `id`, `name`, `boxes`, `cell`, `error`, `width`, `height`, `part`, `group` and `row`.

    Returns:
        The readable pictures: `id`, `name`, `cell`, `labeled` (the labeled box; null if there is not exactly one that
        fits), `agreement` (intersection over union; 0 if no cell is found, missing if no box is labeled), `part`,
        `group` and `row`.
    """
    readable = pictures[pictures["error"] == ""]
    rows = zip(readable["boxes"], readable["width"], readable["height"], strict=True)
    labeled = [boxes[0] if len(boxes) == 1 and box_fits(boxes[0], *shape) else None for boxes, *shape in rows]
    compared = readable[["id", "name", "cell", "part", "group", "row"]].assign(
        labeled=pd.Series(labeled, readable.index, dtype=object)
    )
    pairs = zip(compared["cell"], compared["labeled"], strict=True)
    compared["agreement"] = [
        np.nan if box is None else 0.0 if cell is None else box_overlap(cell, box) for cell, box in pairs
    ]
    return compared.reset_index(drop=True)


def cells_sheet(raw: Path, compared: pd.DataFrame, convert: ConvertConfig) -> Image.Image | None:
    """Draw pictures with the found outline (green) and the labeled box (yellow), and below each the isolated cell.

    With enough labeled boxes, the rows show the least, median and best agreement; else evenly chosen pictures.

    Args:
        raw: Folder of the Parquet files.
        compared: From `compare_cells`.
        convert: Section `convert`, with the depth that was decided.

    Returns:
        The sheet, or None if no cell is found.
    """
    found = compared[compared["cell"].notna()].sort_values(["agreement", "name"], ignore_index=True)
    if not len(found):
        return None
    labeled = found[found["agreement"].notna()]
    if len(labeled) > 3 * _PER_ROW:
        middle = (len(labeled) - _PER_ROW) // 2
        starts = {"agree least": 0, "in the middle": middle, "agree best": len(labeled) - _PER_ROW}
        rows = {label: labeled[start : start + _PER_ROW] for label, start in starts.items()}
    else:
        rows = {"found": found.iloc[evenly_spaced(len(found), _PER_ROW)]}
    pictures, captions = list[tuple[RgbPixels, ...]](), list[list[str]]()
    for some in rows.values():
        pictures += zip(*[_draw(raw, row, convert) for _, row in some.iterrows()], strict=True)
        captions += [[_caption(row) for _, row in some.iterrows()], [""] * len(some)]
    return contact_sheet(pictures, [label for name in rows for label in (name, "")], captions, cell=_CELL)


def _draw(raw: Path, row: pd.Series, convert: ConvertConfig) -> tuple[RgbPixels, RgbPixels]:
    """The picture with outline and box, and the isolated cell."""
    shard = Shard(part=row["part"], group=row["group"], rows=0, size=0)
    encoded = read_shard(raw, shard, ["encoded"], [row["row"]])["encoded"][0]
    rgb = np.array(decode(open_for(convert, encoded)))
    cell = find_cell(rgb)
    isolated = np.zeros((1, 1, 3), np.uint8) if cell is None else isolate_cell(rgb, cell, _CELL[1])
    thick = max(2, round(max(rgb.shape) / 100))
    if row["labeled"] is not None:
        left, top, right, bottom = (int(side) for side in row["labeled"])
        cv2.rectangle(rgb, (left, top), (right, bottom), _LABELED, thick)
    if cell is not None:
        cv2.polylines(rgb, [np.rint(cell.outline).astype(np.int32)], True, _FOUND, thick)
    return rgb, isolated


def _caption(row: pd.Series) -> str:
    name = printable(row["name"]).rpartition("/")[2]
    return name if np.isnan(row["agreement"]) else f"{row['agreement']:.2f}  {name}"
