"""Values of the report's tables, from the files of the stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lamina.data.isolation import HIT
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import FOLDS
from lamina.report.data_files import DataFiles, Pictures
from lamina.results.metrics import FEW_CLASSES


@dataclass(frozen=True, kw_only=True)
class Count:
    pictures: int
    origins: int


@dataclass(frozen=True, kw_only=True)
class Census:
    """Numbers of pictures and origins; augmented copies count only in `training_rows`.

    classes: by class and fold, empty without labels. spare: pictures of no fold, which are not used.
    """

    kept: int
    rejected: Mapping[str, int]
    classes: Mapping[str, Mapping[str, Count]]
    folds: Mapping[str, Count]
    training_rows: int
    spare: int

    @property
    def listed(self) -> Mapping[str, Mapping[str, Count]]:
        """The classes of the page's table: all, or of many the `FEW_CLASSES` with the fewest pictures."""
        if len(self.classes) <= FEW_CLASSES:
            return self.classes
        size = {label: sum(count.pictures for count in row.values()) for label, row in self.classes.items()}
        return {label: self.classes[label] for label in sorted(size, key=lambda one: (size[one], one))[:FEW_CLASSES]}

    @property
    def has_origins(self) -> bool:
        """Whether the page's table names origins: somewhere several pictures come from one."""
        rows = (self.folds, *self.listed.values())
        return any(count.origins != count.pictures for row in rows for count in row.values())


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Pictures with one labeled box; those whose found cell agrees with it; the median agreement (0 to 1)."""

    labeled: int
    agreeing: int
    median: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """Near duplicates: their common origin, and their names, sorted."""

    origin: str
    names: Sequence[str]


def census(kept: int, rejected: pd.DataFrame | None, split: pd.DataFrame) -> Census:
    """Count kept rows, rejected ones by reason (most frequent first), and rows per class and fold.

    Args:
        kept: Number of pictures or texts.
        rejected: Column `reason`; None if nothing was filtered.
        split: Columns `id`, `origin`, `label`, `copy`, `fold`.
    """
    return Census(
        kept=kept,
        rejected=_reasons(rejected),
        classes=_classes(split),
        folds=_folds(split),
        training_rows=int((split["fold"] == "train").sum()),
        spare=int(((split["fold"] == SPARE) & (split["copy"] == 0)).sum()),
    )


def near_duplicates(groups: pd.DataFrame) -> list[Group]:
    """Return the groups of near duplicates, by number."""
    return [
        Group(origin=str(rows["origin"].iloc[0]), names=sorted(rows["name"].astype(str)))
        for _, rows in groups.groupby("group", sort=True)
    ]


def cells(pictures: Pictures) -> Cells | None:
    """Compare the found cells with the labeled boxes; None if there are no such boxes."""
    agreement = pictures.cells["agreement"].dropna()
    if not len(agreement):
        return None
    return Cells(labeled=len(agreement), agreeing=int((agreement >= HIT).sum()), median=float(agreement.median()))


def joined(data: DataFiles, most: int) -> list[tuple[Any, ...]]:
    """Return the names of the first `most` pairs that became one origin in the split, and their agreement."""
    return _named(data, data.joined.head(most), "id", "other", "agreement")


def suspicious(data: DataFiles, most: int) -> list[tuple[Any, ...]]:
    """Return the first `most` suspicious pairs of the leak audit: both names, the fold of the other, the agreement."""
    if data.audit is None:
        return []
    shown = data.audit.head(min(most, data.counted.suspicious or 0))
    return _named(data, shown, "id", "nearest", "fold", "agreement")


def _named(data: DataFiles, pairs: pd.DataFrame, first: str, second: str, *columns: str) -> list[tuple[Any, ...]]:
    """Return pairs with names in place of their ids."""
    return [
        (data.name(pair[first]), data.name(pair[second]), *(pair[column] for column in columns))
        for pair in pairs.to_dict("records")
    ]


def _reasons(rejected: pd.DataFrame | None) -> dict[str, int]:
    if rejected is None:
        return {}
    counts = rejected["reason"].value_counts()
    return {str(reason): int(counts[reason]) for reason in sorted(counts.index, key=lambda name: (-counts[name], name))}


def _classes(split: pd.DataFrame) -> dict[str, dict[str, Count]]:
    counts = split.groupby(["label", "fold"])[["id", "origin"]].nunique().reset_index()
    found = {
        (str(row["label"]), str(row["fold"])): Count(pictures=int(row["id"]), origins=int(row["origin"]))
        for row in counts.to_dict("records")
    }
    nothing = Count(pictures=0, origins=0)
    return {label: {fold: found.get((label, fold), nothing) for fold in FOLDS} for label, _ in found}


def _folds(rows: pd.DataFrame) -> dict[str, Count]:
    inside = {fold: rows[rows["fold"] == fold] for fold in FOLDS}
    return {fold: Count(pictures=one["id"].nunique(), origins=one["origin"].nunique()) for fold, one in inside.items()}
