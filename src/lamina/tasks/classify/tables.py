"""Values of the report's tables of classifiers: ranking, axis, confusion and mistakes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import pandas as pd

from lamina.charts.comparison import Comparison, Scale, compared, same_pictures
from lamina.maths.comparison import differences
from lamina.results.metrics import FEW_CLASSES
from lamina.results.trained import TrainedRun
from lamina.tasks.classify.results import ClassScore, ClassScores
from lamina.tasks.columns import probability

PAIRS: Final = 30  # of confused classes that are listed


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a confusion matrix: pictures, and their share (0 to 1) of the row's true class."""

    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Confused:
    """A class that was taken for another: in how many pictures, and their share (0 to 1) of the class."""

    label: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrongly classified test picture; `probability` is that of the predicted class."""

    id: str
    label: str
    predicted: str
    probability: float


def ranked(runs: Sequence[TrainedRun]) -> list[TrainedRun]:
    """Sort by test accuracy, the best first, then by name."""
    return sorted(runs, key=lambda run: (-run.metrics.test.value, run.name))


def comparison(runs: Sequence[TrainedRun]) -> Comparison | None:
    """Compare the test accuracy of all pairs of runs, best first; None for a single run.

    Raises UserError if runs were tested on different pictures.
    """
    if len(runs) < 2:
        return None
    answers = same_pictures({run.name: run.predictions for run in runs})
    correct = {name: (table["label"] == table["predicted"]).to_numpy() for name, table in answers.items()}
    return compared(list(correct), differences(correct, answers[runs[0].name]["origin"].to_numpy()))


def scale(runs: Sequence[TrainedRun]) -> Scale:
    """Return the narrowest axis for all intervals and majority rates, in whole tens of percent."""
    tests = [cast(ClassScores, run.metrics.test) for run in runs]
    values = [value for test in tests for value in (test.accuracy, test.majority, *(test.interval or ()))]
    lowest, highest = min(values), max(values)
    low = min(math.floor(lowest * 10 + 1e-9) / 10, 0.9)
    high = max(math.ceil(highest * 10 - 1e-9) / 10, low + 0.1)
    return Scale(low=low, high=high, step=0.1 if high - low < 0.55 else 0.2)


def confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> list[list[Cell]]:
    """Return the confusion matrix: a row per true class, a column per predicted one, in the order of `classes`."""
    counts = pd.crosstab(predictions["label"], predictions["predicted"])
    square = counts.reindex(index=list(classes), columns=list(classes), fill_value=0).to_numpy()
    totals = square.sum(axis=1, keepdims=True)
    shares = np.divide(square, totals, out=np.zeros(square.shape), where=totals > 0)
    return [
        [Cell(count=int(count), share=float(share)) for count, share in zip(row, row_shares, strict=True)]
        for row, row_shares in zip(square, shares, strict=True)
    ]


def confused(predictions: pd.DataFrame) -> list[Confused]:
    """Return the pairs of a class and another that it was taken for, the most frequent first."""
    wrong = predictions.loc[predictions["label"] != predictions["predicted"], ["label", "predicted"]].astype(str)
    pairs = wrong.value_counts().reset_index(name="count")
    of_class = predictions["label"].astype(str).value_counts().reindex(pairs["label"])
    pairs["share"] = pairs["count"].to_numpy() / of_class.to_numpy()
    ordered = pairs.sort_values(["count", "share", "label", "predicted"], ascending=[False, False, True, True])
    return [Confused(**{str(name): value for name, value in row.items()}) for row in ordered.to_dict("records")]


def listed(per_class: Mapping[str, ClassScore], classes: Sequence[str]) -> list[str]:
    """Return the classes of the table of scores: all in their order, of many the `FEW_CLASSES` with the lowest F1."""
    if len(classes) <= FEW_CLASSES:
        return list(classes)
    return sorted(classes, key=lambda label: (per_class[label].f1, -per_class[label].n, label))[:FEW_CLASSES]


def mistakes(predictions: pd.DataFrame, classes: Sequence[str], most: int) -> list[Mistake]:
    """Return at most `most` wrongly classified test pictures, the most confident first, then by id."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    places = pd.Index(classes).get_indexer(pd.Index(wrong["predicted"]))
    confidence = wrong[[*map(probability, classes)]].to_numpy(dtype=float)[np.arange(len(wrong)), places]
    table = wrong[["id", "label", "predicted"]].assign(probability=confidence)
    shown = table.sort_values(["probability", "id"], ascending=[False, True]).head(most)
    return [Mistake(**{str(name): value for name, value in row.items()}) for row in shown.to_dict("records")]
