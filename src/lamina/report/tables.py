"""Values of the report's tables, from the files of the stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lamina.data.isolation import HIT
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import FOLDS
from lamina.report.pictures import Pictures


@dataclass(frozen=True, kw_only=True)
class Count:
    pictures: int
    origins: int


@dataclass(frozen=True, kw_only=True)
class Census:
    """Numbers of pictures and origins; augmented copies count only in `training_rows`.

    classes: empty without labels. spare: pictures of no fold, which are not used.
    """

    kept: int
    rejected: Mapping[str, int]
    classes: Mapping[str, Mapping[str, Count]]
    folds: Mapping[str, Count]
    training_rows: int
    spare: int


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Two pictures that show the same thing, and their agreement after alignment (at most 1)."""

    names: tuple[str, str]
    agreement: float


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


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The names of a test picture and of its most similar picture; agreement from 0 to 1."""

    name: str
    nearest: str
    fold: str
    agreement: float


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
        classes={str(label): _folds(rows) for label, rows in split.groupby("label", sort=True)},
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


def joined(pictures: Pictures, most: int) -> list[Joined]:
    """Return the first `most` pairs of pictures that became one origin in the split."""
    shown = pictures.joined.head(most)
    columns = (shown[name] for name in ("id", "other", "agreement"))
    return [
        Joined(names=(_name(pictures, id_), _name(pictures, other)), agreement=float(agreement))
        for id_, other, agreement in zip(*columns, strict=True)
    ]


def suspicious(pictures: Pictures, most: int) -> list[Pair]:
    """Return the first `most` suspicious pairs of the leak audit."""
    if pictures.audit is None:
        return []
    shown = pictures.audit.head(min(most, pictures.counted.suspicious or 0))
    columns = (shown[name] for name in ("id", "nearest", "fold", "agreement"))
    return [
        Pair(name=_name(pictures, id_), nearest=_name(pictures, nearest), fold=str(fold), agreement=float(agreement))
        for id_, nearest, fold, agreement in zip(*columns, strict=True)
    ]


def _name(pictures: Pictures, picture: str) -> str:
    return str(pictures.names.get(picture, picture))


def _reasons(rejected: pd.DataFrame | None) -> dict[str, int]:
    if rejected is None:
        return {}
    counts = rejected["reason"].value_counts()
    return {str(reason): int(counts[reason]) for reason in sorted(counts.index, key=lambda name: (-counts[name], name))}


def _folds(rows: pd.DataFrame) -> dict[str, Count]:
    found = {}
    for fold in FOLDS:
        inside = rows[rows["fold"] == fold]
        found[fold] = Count(pictures=inside["id"].nunique(), origins=inside["origin"].nunique())
    return found
