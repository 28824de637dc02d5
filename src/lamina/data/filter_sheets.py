"""Sheets of what the filter kept, what it rejected and why, and what it took for one picture: for people to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.decoding import UnreadableError, decode, open_picture, shown_size
from lamina.data.filters import REASONS
from lamina.data.shards import Shard, read_shard
from lamina.data.sheets import contact_sheet
from lamina.maths.color import RgbPixels

PICTURES: Final = 8  # in a row of kept and of rejected ones
CLASSES: Final = 12  # rows of kept ones
GROUPS, MEMBERS = 8, 6  # rows of near duplicates, and pictures in each

_CELL: Final = (168, 126)  # wide enough for what names and details mostly are
_BLANK: Final = np.full((_CELL[1], _CELL[1], 3), 229, np.uint8)  # stands for a picture that cannot be read


def near_duplicates(kept: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
    """List the pictures that were taken for near duplicates of one another.

    kept: `id`, `name`, `origin` (as merged), `part`, `group`, `row` (where the bytes are); groups: (n,) numbers.
    Returns `group` (from 1, in the order of first names), `id`, `name`, `origin`, of groups of two and more, and
    `place`: the row of `kept`.
    """
    sizes = pd.Series(groups).map(pd.Series(groups).value_counts()).to_numpy()
    place = np.flatnonzero(sizes > 1)
    number = pd.factorize(groups[place])[0] + 1
    listed = kept.iloc[place][["id", "name", "origin"]].reset_index(drop=True)
    return listed.assign(group=number, place=place).sort_values(["group", "name"], ignore_index=True)


def kept_sheet(raw: Path, kept: pd.DataFrame) -> Image.Image:
    """A row for each of the first classes: some of its pictures, evenly chosen; without labels one row of all.

    kept: `name`, `label`, and where the bytes are (`part`, `group`, `row`); at least one row.
    """
    labels = kept["label"].fillna("").astype(str)
    rows = []
    for label in sorted(set(labels))[:CLASSES]:
        found = kept[labels == label]
        chosen = np.unique(np.linspace(0, len(found) - 1, PICTURES).round().astype(int))
        rows.append((f"{label or 'all'} ({len(found)})", found.iloc[chosen]))
    return _sheet(raw, rows)


def rejected_sheet(raw: Path, rejected: pd.DataFrame) -> Image.Image | None:
    """A row for each reason: the first pictures, with name and detail; None where nothing was rejected.

    rejected: `name`, `reason`, `detail`, and where the bytes are.
    """
    by_reason = [(reason, rejected[rejected["reason"] == reason]) for reason in REASONS]
    rows = [(f"{reason} ({len(found)})", found.head(PICTURES)) for reason, found in by_reason if len(found)]
    return _sheet(raw, rows) if rows else None


def groups_sheet(raw: Path, kept: pd.DataFrame, listed: pd.DataFrame) -> Image.Image | None:
    """A row for each of the first groups of near duplicates, with the origin they share; None where there is none.

    kept: as above; listed: of `near_duplicates`.
    """
    rows = [
        (f"{found['origin'].iloc[0]} ({len(found)})", kept.iloc[found["place"].head(MEMBERS)])
        for _, found in list(listed.groupby("group"))[:GROUPS]
    ]
    return _sheet(raw, rows) if rows else None


def _sheet(raw: Path, rows: Sequence[tuple[str, pd.DataFrame]]) -> Image.Image:
    """Labels and the pictures beside them, decoded from their shards, each of which is read once."""
    wanted = pd.concat([found for _, found in rows])
    drawn: dict[tuple[str, int, int], RgbPixels] = {}
    for part, group in sorted(set(zip(wanted["part"], wanted["group"], strict=True))):
        rows_here = wanted.loc[(wanted["part"] == part) & (wanted["group"] == group), "row"].unique()
        encoded = read_shard(raw, Shard(part=part, group=group, rows=0, size=0), ["encoded"], rows_here)["encoded"]
        drawn |= {(part, group, row): _small(one) for row, one in zip(rows_here, encoded, strict=True)}
    places = [list(zip(found["part"], found["group"], found["row"], strict=True)) for _, found in rows]
    pictures = [[drawn[place] for place in row] for row in places]
    captions = [[_caption(picture) for _, picture in found.iterrows()] for _, found in rows]
    return contact_sheet(pictures, [label for label, _ in rows], captions, cell=_CELL)


def _caption(picture: "pd.Series[str]") -> str:
    name = str(picture["name"]).rsplit("/", 1)[-1]
    return f"{name}\n{picture['detail']}" if picture.get("detail") else name


def _small(encoded: bytes) -> RgbPixels:
    try:
        picture = open_picture(encoded)
        small = decode(picture, least=min(1.0, 2 * _CELL[0] / max(shown_size(picture))))
    except UnreadableError:
        return _BLANK
    small.thumbnail((2 * _CELL[0], 2 * _CELL[1]))
    return np.asarray(small)
