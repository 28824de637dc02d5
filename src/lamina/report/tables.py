"""The report's tables: plain values counted from what the stages wrote, ready to be laid out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lamina.data.isolation import HIT
from lamina.errors import UserError
from lamina.maths.comparison import Difference, differences, letters
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import FOLDS
from lamina.report.pictures import Pictures
from lamina.tasks.classify.results import Run


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
    """Pictures with one box told; those in which the cell found agrees with it; the median agreement (0 to 1)."""

    told: int
    agreeing: int
    median: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a confusion matrix: pictures, and their share (0 to 1) of the row's true class."""

    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A test picture that was called wrongly; `probability` is what the network gave to `predicted`."""

    id: str
    label: str
    predicted: str
    probability: float


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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs against each other on the same test pictures.

    letters: by run; two share one exactly where they cannot be told apart. rows: by run, its `Difference` to each of
    the others, None to itself.
    """

    letters: Mapping[str, str]
    rows: Mapping[str, Sequence[Difference | None]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A common axis from `low` to `high`, with a tick every `step`; `place` maps a value to 0..100 along it."""

    low: float
    high: float
    step: float

    def place(self, value: float) -> float:
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[float]:
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        return [round(self.low + index * self.step, 9) for index in range(count + 1)]


def ranked(runs: Sequence[Run]) -> list[Run]:
    """Best test accuracy first; equals by name."""
    return sorted(runs, key=lambda run: (-run.metrics.test.accuracy, run.name))


def comparison(runs: Sequence[Run]) -> Comparison | None:
    """Compare all pairs of runs, best first; None where there is one alone. Raises UserError for other pictures."""
    if len(runs) < 2:
        return None
    answers = same_pictures({run.name: run.predictions for run in runs})
    correct = {name: (table["label"] == table["predicted"]).to_numpy() for name, table in answers.items()}
    return compared(list(correct), differences(correct, answers[runs[0].name]["origin"].to_numpy()))


def compared(names: Sequence[str], found: Sequence[Difference]) -> Comparison:
    """Lay out what was found between all pairs of runs; names: best first."""
    known = {(one.first, one.second): one for one in found} | {(one.second, one.first): one.turned() for one in found}
    rows = {name: [known.get((name, other)) for other in names] for name in names}
    return Comparison(letters=letters(names, found), rows=rows)


def same_pictures(predictions: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The runs' predictions in the order of their pictures; raises UserError where they are not of the same ones."""
    answers = {name: table.sort_values("id") for name, table in predictions.items()}
    first = next(iter(answers))
    for name, table in answers.items():
        if list(table["id"]) != list(answers[first]["id"]):
            raise UserError(
                f"models/{name}/predictions.parquet: other test pictures than those of {first}; run `dvc repro`"
            )
    return answers


def scale(runs: Sequence[Run]) -> Scale:
    """The narrowest axis in whole tens of percent that shows every interval and majority rate."""
    tests = [run.metrics.test for run in runs]
    lowest = min(min(test.interval[0], test.majority) for test in tests)
    highest = max(max(test.interval[1], test.majority) for test in tests)
    low = math.floor(lowest * 10 + 1e-9) / 10
    high = max(math.ceil(highest * 10 - 1e-9) / 10, low + 0.1)
    return Scale(low=low, high=high, step=0.1 if high - low < 0.55 else 0.2)


def census(pictures: Pictures) -> Census:
    """Count pictures kept, rejected by reason (commonest first), and per class and fold."""
    split = pictures.split
    return Census(
        kept=len(pictures.names),
        rejected=_reasons(pictures.rejected),
        classes={str(label): _folds(rows) for label, rows in split.groupby("label", sort=True)},
        folds=_folds(split),
        training_rows=int((split["fold"] == "train").sum()),
        spare=int(((split["fold"] == SPARE) & (split["copy"] == 0)).sum()),
    )


def confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> list[list[Cell]]:
    """Rows are the true classes, columns the predicted ones, both in the order of `classes`."""
    counts = pd.crosstab(predictions["label"], predictions["predicted"])
    square = counts.reindex(index=list(classes), columns=list(classes), fill_value=0).to_numpy()
    totals = square.sum(axis=1, keepdims=True)
    shares = np.divide(square, totals, out=np.zeros(square.shape), where=totals > 0)
    return [
        [Cell(count=int(count), share=float(share)) for count, share in zip(row, row_shares, strict=True)]
        for row, row_shares in zip(square, shares, strict=True)
    ]


def mistakes(predictions: pd.DataFrame, classes: Sequence[str], most: int) -> list[Mistake]:
    """The test pictures called wrongly, the most confident first (equals by id), at most `most`."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    places = pd.Index(classes).get_indexer(pd.Index(wrong["predicted"]))
    given = wrong[list(classes)].to_numpy(dtype=float)[np.arange(len(wrong)), places]
    shown = wrong.assign(given=given).sort_values(["given", "id"], ascending=[False, True]).head(most)
    columns = (shown[name] for name in ("id", "label", "predicted", "given"))
    return [
        Mistake(id=id_, label=label, predicted=predicted, probability=float(probability))
        for id_, label, predicted, probability in zip(*columns, strict=True)
    ]


def near_duplicates(groups: pd.DataFrame) -> list[Group]:
    """Groups of near duplicates, in the order of their numbers."""
    return [
        Group(origin=str(rows["origin"].iloc[0]), names=sorted(rows["name"].astype(str)))
        for _, rows in groups.groupby("group", sort=True)
    ]


def cells(pictures: Pictures) -> Cells | None:
    """How far the cells found agree with the boxes told; None where none was told."""
    told = pictures.cells["agreement"].dropna()
    if not len(told):
        return None
    return Cells(told=len(told), agreeing=int((told >= HIT).sum()), median=float(told.median()))


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


def states(trials: pd.DataFrame) -> dict[str, int]:
    """Trials per state, in lower case and in the order of the alphabet."""
    counts = trials["state"].astype(str).str.lower().value_counts()
    return {str(state): int(counts[state]) for state in sorted(counts.index)}


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
