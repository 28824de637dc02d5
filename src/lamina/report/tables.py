"""The report's tables: plain values counted from what the stages wrote, ready to be laid out."""

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
    """How many pictures and origins there are; copies made by augmentation count only in `training_rows`.

    classes: none where pictures have no labels. spare: pictures of no fold, which take no part.
    """

    kept: int
    rejected: Mapping[str, int]
    classes: Mapping[str, Mapping[str, Count]]
    folds: Mapping[str, Count]
    training_rows: int
    spare: int


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Two pictures that show the same thing, and how well they agree once they lie alike (at most 1)."""

    names: tuple[str, str]
    agreement: float


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Pictures with one given box, those whose found cell agrees with it, and the median agreement (0 to 1)."""

    given: int
    agreeing: int
    median: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """Near duplicates: the origin that they share, and their names in the order of the alphabet."""

    origin: str
    names: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A test picture and the one that it looks like, by name; agreement from 0 to 1."""

    name: str
    nearest: str
    fold: str
    agreement: float


def census(kept: int, rejected: pd.DataFrame | None, split: pd.DataFrame) -> Census:
    """Count what was kept, what was rejected by reason (most frequent first), and rows per class and fold.

    Args:
        kept: pictures or texts.
        rejected: with `reason`; None where nothing was filtered.
        split: `id`, `origin`, `label`, `copy`, `fold`.
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
    """Groups of near duplicates, in the order of their numbers."""
    return [
        Group(origin=str(rows["origin"].iloc[0]), names=sorted(rows["name"].astype(str)))
        for _, rows in groups.groupby("group", sort=True)
    ]


def cells(pictures: Pictures) -> Cells | None:
    """Return how well the cells that were found agree with the given boxes; None where no box was given."""
    agreement = pictures.cells["agreement"].dropna()
    if not len(agreement):
        return None
    return Cells(given=len(agreement), agreeing=int((agreement >= HIT).sum()), median=float(agreement.median()))


def joined(pictures: Pictures, most: int) -> list[Joined]:
    """The first pairs of pictures that became one origin in the split, at most `most`."""
    shown = pictures.joined.head(most)
    columns = (shown[name] for name in ("id", "other", "agreement"))
    return [
        Joined(names=(_name(pictures, id_), _name(pictures, other)), agreement=float(agreement))
        for id_, other, agreement in zip(*columns, strict=True)
    ]


def suspicious(pictures: Pictures, most: int) -> list[Pair]:
    """The pairs that the leak audit calls suspicious, which come first in its table, at most `most`."""
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
