"""Targets that runs learn from columns of `source.metadata`: several labels a picture, or a number.

The stage `split` writes them to `data/targets/TASK.parquet`, for each task: without columns for tasks that learn from
classes or from nothing but pictures, so that an edit of the metadata reruns only those that use them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import json_digest
from lamina.maths.decimals import to_numbers
from lamina.text import quoted

NONE: Final = ("-", "none")  # cells that say: no label
SEPARATORS: Final = ("|", ";", ",")  # of the labels in a cell: the first one that is used in the column
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "-1", "-1.0")  # -1: as CelebA writes it
FORBIDDEN: Final = "|"  # separates labels in predictions and baselines
SHOWN: Final = 3


def write_targets(folder: Path, metadata: pd.DataFrame | None, ids: Sequence[str], tasks: dict[str, bool]) -> None:
    """Write a table for each task.

    Args:
        folder: of the tables.
        metadata: `id` and the columns of the metadata; None: there are none.
        ids: of all pictures.
        tasks: whether each task learns from metadata, by name.
    """
    nothing = pd.DataFrame({"id": list(ids)})
    for name, learns_from_metadata in tasks.items():
        table = metadata if learns_from_metadata and metadata is not None else nothing
        table.to_parquet(folder / f"{name}.parquet", index=False)


def read_targets(folders: Folders, task: str) -> pd.DataFrame:
    """Read the columns of the metadata by id, for a task that learns from them."""
    return pd.read_parquet(folders.targets / f"{task}.parquet").set_index("id")


def read_numbers(table: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Return the numbers in a column, by id; pictures without one are left out. Decimal commas are read as points.

    Raises:
        UserError: if there is no such column, or a cell holds something else than a finite number.
    """
    cells = _column(table, column, "target").dropna()
    numbers = to_numbers(cells).astype(np.float64)
    wrong = cells[~np.isfinite(numbers)]
    if len(wrong):
        raise UserError(
            f"source.metadata: {len(wrong)} of {len(cells)} cells of the column {column!r} hold no finite number "
            f"({_some(wrong)}); correct them, or leave them empty: such pictures are not used"
        )
    return numbers


def read_label_sets(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return which labels each picture has: a column of booleans per label, by id.

    Args:
        table: of `read_targets`.
        columns: one column whose cells list labels, separated by `|`, `;` or `,` (`-` or none: no label); or several,
            one per label, whose cells hold 1 or 0, true or false, yes or no.

    Returns:
        The labels of a list are sorted; pictures without a cell, or with an empty one, are left out.

    Raises:
        UserError: if a column is missing, a cell holds something else, or there are fewer than two labels.
    """
    if len(columns) == 1:
        found = _listed(_column(table, columns[0], "targets").dropna())
    else:
        found = pd.DataFrame({name: _flags(_column(table, name, "targets"), name) for name in columns}).dropna()
        found = found.astype(bool)
    if len(found.columns) < 2:
        raise UserError(
            f"targets: expected two labels or more in source.metadata, found {', '.join(found.columns) or 'none'}; "
            "for one class a picture take task: classify"
        )
    named = [name for name in found.columns if FORBIDDEN in name or name.strip().lower() in NONE]
    if named:
        raise UserError(f"targets: a label cannot be called {quoted(named[0])}; rename it in source.metadata")
    return found


def find_separator(cells: "pd.Series[str]") -> str | None:
    """Return what separates the labels in cells that list some; None if no cell has several."""
    return next((one for one in SEPARATORS if cells.str.contains(one, regex=False).any()), None)


def targets_digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of targets by id, whatever the order of the rows."""
    values = pd.util.hash_pandas_object(table.sort_index()).to_numpy()
    return json_digest([list(map(str, table.columns)), values.tolist()])


def _column(table: pd.DataFrame, name: str, key: str) -> "pd.Series[str]":
    if name not in table:
        known = ", ".join(map(str, table)) or "none: set source.metadata"
        raise UserError(f"{key}: no column {name!r} in source.metadata; its columns are {known}")
    column: pd.Series[str] = table[name]
    return column


def _listed(cells: "pd.Series[str]") -> pd.DataFrame:
    separator = find_separator(cells) or SEPARATORS[0]
    labels = [
        {part.strip() for part in cell.split(separator) if part.strip() and part.strip().lower() not in NONE}
        for cell in cells
    ]
    names = sorted(set().union(*labels))
    return pd.DataFrame([[name in held for name in names] for held in labels], index=cells.index, columns=names)


def _flags(cells: "pd.Series[str]", name: str) -> "pd.Series[float]":
    lower = cells.dropna().str.lower()
    wrong = lower[~lower.isin(TRUE + FALSE)]
    if len(wrong):
        raise UserError(
            f"source.metadata: {len(wrong)} of {len(lower)} cells of the column {name!r} are neither 1 nor 0 "
            f"({_some(wrong)}); correct them, or leave them empty: such pictures are not used"
        )
    return lower.isin(TRUE).astype(np.float64).reindex(cells.index)


def _some(cells: "pd.Series[str]") -> str:
    return ", ".join(quoted(cell) for cell in sorted(set(cells))[:SHOWN])
