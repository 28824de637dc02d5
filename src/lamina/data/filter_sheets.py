"""Contact sheets of the pictures that the filter kept, rejected (by reason), and grouped as near duplicates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.decoding import decode, open_for
from lamina.data.filters import REASONS
from lamina.data.opening import UnreadableError
from lamina.data.pixels import ConvertConfig
from lamina.data.shards import Shard, read_shard
from lamina.data.sheets import contact_sheet, evenly_spaced
from lamina.maths.color import RgbPixels
from lamina.text import printable

PICTURES: Final = 8  # per row of kept or rejected pictures
CLASSES: Final = 12  # rows of kept pictures
GROUPS, MEMBERS = 8, 6  # rows of near duplicates, pictures per row

_CELL: Final = (168, 126)  # pixels; wide enough for most names and details
_BLANK: Final = np.full((_CELL[1], _CELL[1], 3), 229, np.uint8)  # placeholder of a picture that cannot be read


def near_duplicates(kept: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
    """List the pictures that have near duplicates.

    Args:
        kept: Columns `id`, `name` and `origin` (after merging).
        groups: (n,) group numbers, from `near_duplicate_groups`.

    Returns:
        Columns `group` (from 1, in the order of first names), `id`, `name`, `origin`, and `place`: the row in `kept`.
        Only groups of at least two pictures are listed.
    """
    sizes = pd.Series(groups).map(pd.Series(groups).value_counts()).to_numpy()
    place = np.flatnonzero(sizes > 1)
    number = pd.factorize(groups[place])[0] + 1
    listed = kept.iloc[place][["id", "name", "origin"]].reset_index(drop=True)
    return listed.assign(group=number, place=place).sort_values(["group", "name"], ignore_index=True)


def kept_sheet(raw: Path, kept: pd.DataFrame, convert: ConvertConfig) -> Image.Image:
    """Draw a row of pictures per class, for the first `CLASSES`; without labels one row of all pictures.

    Args:
        raw: Folder of the Parquet files.
        kept: Columns `name`, `label`, and `part`, `group`, `row` (where the bytes are); at least one row.
        convert: Section `convert`, with the depth that was decided.
    """
    labels = kept["label"].fillna("").astype(str)
    rows = []
    for label in sorted(set(labels))[:CLASSES]:
        found = kept[labels == label]
        rows.append((f"{label or 'all'} ({len(found)})", found.iloc[evenly_spaced(len(found), PICTURES)]))
    return _sheet(raw, rows, convert)


def rejected_sheet(raw: Path, rejected: pd.DataFrame, convert: ConvertConfig) -> Image.Image | None:
    """Draw a row of the first rejected pictures per reason, with name and detail.

    Args:
        raw: Folder of the Parquet files.
        rejected: Columns `name`, `reason`, `detail`, `part`, `group` and `row`.
        convert: As for `kept_sheet`.

    Returns:
        The sheet, or None if no picture is rejected.
    """
    by_reason = [(reason, rejected[rejected["reason"] == reason]) for reason in REASONS]
    rows = [(f"{reason} ({len(found)})", found.head(PICTURES)) for reason, found in by_reason if len(found)]
    return _sheet(raw, rows, convert) if rows else None


def groups_sheet(raw: Path, kept: pd.DataFrame, listed: pd.DataFrame, convert: ConvertConfig) -> Image.Image | None:
    """Draw a row per group of near duplicates, for the first `GROUPS`, labeled with their common origin.

    Args:
        raw: Folder of the Parquet files.
        kept: As for `kept_sheet`.
        listed: From `near_duplicates`.
        convert: As for `kept_sheet`.

    Returns:
        The sheet, or None if there are no near duplicates.
    """
    rows = [
        (f"{found['origin'].iloc[0]} ({len(found)})", kept.iloc[found["place"].head(MEMBERS)])
        for _, found in list(listed.groupby("group"))[:GROUPS]
    ]
    return _sheet(raw, rows, convert) if rows else None


def _sheet(raw: Path, rows: Sequence[tuple[str, pd.DataFrame]], convert: ConvertConfig) -> Image.Image:
    """Draw labeled rows of pictures; each shard is read once."""
    shown = pd.concat([found for _, found in rows])
    drawn: dict[tuple[str, int, int], RgbPixels] = {}
    for part, group in sorted(set(zip(shown["part"], shown["group"], strict=True))):
        rows_here = shown.loc[(shown["part"] == part) & (shown["group"] == group), "row"].unique()
        encoded = read_shard(raw, Shard(part=part, group=group, rows=0, size=0), ["encoded"], rows_here)["encoded"]
        drawn |= {(part, group, row): _decode_small(one, convert) for row, one in zip(rows_here, encoded, strict=True)}
    places = [list(zip(found["part"], found["group"], found["row"], strict=True)) for _, found in rows]
    pictures = [[drawn[place] for place in row] for row in places]
    captions = [[_caption(picture) for _, picture in found.iterrows()] for _, found in rows]
    return contact_sheet(pictures, [label for label, _ in rows], captions, cell=_CELL)


def _caption(picture: "pd.Series[str]") -> str:
    name = printable(picture["name"]).rsplit("/", 1)[-1]
    return f"{name}\n{printable(picture['detail'])}" if picture.get("detail") else name


def _decode_small(encoded: bytes, convert: ConvertConfig) -> RgbPixels:
    try:
        picture = open_for(convert, encoded)
        small = decode(picture, least=min(1.0, 2 * _CELL[0] / max(picture.width, picture.height)))
    except UnreadableError:
        return _BLANK
    small.thumbnail((2 * _CELL[0], 2 * _CELL[1]))
    return np.asarray(small)
