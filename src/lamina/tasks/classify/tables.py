"""The report's tables of classifiers: who comes first, on which axis, and what was confused."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from lamina.charts.comparison import Comparison, Scale, compared, same_pictures
from lamina.maths.comparison import differences
from lamina.results.trained import TrainedRun
from lamina.tasks.classify.results import ClassScores


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


def ranked(runs: Sequence[TrainedRun]) -> list[TrainedRun]:
    """Best test accuracy first; equals by name."""
    return sorted(runs, key=lambda run: (-run.metrics.test.value, run.name))


def comparison(runs: Sequence[TrainedRun]) -> Comparison | None:
    """Compare all pairs of runs, best first; None where there is one alone. Raises UserError for other pictures."""
    if len(runs) < 2:
        return None
    answers = same_pictures({run.name: run.predictions for run in runs})
    correct = {name: (table["label"] == table["predicted"]).to_numpy() for name, table in answers.items()}
    return compared(list(correct), differences(correct, answers[runs[0].name]["origin"].to_numpy()))


def scale(runs: Sequence[TrainedRun]) -> Scale:
    """Return the narrowest axis in whole tens of percent that shows every accuracy, interval and majority rate."""
    tests = [cast(ClassScores, run.metrics.test) for run in runs]
    values = [value for test in tests for value in (test.accuracy, test.majority, *(test.interval or ()))]
    lowest, highest = min(values), max(values)
    low = math.floor(lowest * 10 + 1e-9) / 10
    high = max(math.ceil(highest * 10 - 1e-9) / 10, low + 0.1)
    return Scale(low=low, high=high, step=0.1 if high - low < 0.55 else 0.2)


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
