"""What the stages write about a run that gives labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd

from lamina.inputs.targets import FORBIDDEN
from lamina.results.estimate import Estimate
from lamina.results.folders import made_by
from lamina.results.metrics import FEW_CLASSES, Scores, bounds
from lamina.results.metrics import Metrics as BaseMetrics
from lamina.results.result_file import ResultFile, read_result
from lamina.results.uncertainty import FOLDER

PREDICTED: Final = ("id", "origin", "labels", "predicted")  # columns of predictions.parquet before probabilities
THRESHOLDS: Final = "thresholds.json"


class LabelScore(ResultFile):
    """Scores of one label, 0 to 1: `n` pictures have it, and it is given from the probability `threshold` on."""

    n: int
    threshold: float
    average_precision: float | None
    roc_auc: float | None
    precision: float
    recall: float
    f1: float


class LabelScores(Scores):
    """Scores of a fold; see `lamina.maths.label_scores.label_scores`. A cross-validation has F1 per example alone."""

    measure: ClassVar[str] = "f1"

    f1: float
    further: Mapping[str, Estimate] = {}
    per_label: Mapping[str, LabelScore] = {}

    def scalars(self) -> dict[str, float]:
        """Return all scores as plain numbers by name; those of single labels only of at most `FEW_CLASSES`.

        Of a label such as `low`, `f1_low` is the end of an interval, and its own F1 is `f1_label_low`.
        """
        found = super().scalars()
        for name, one in self.further.items():
            found |= {name: one.value} | bounds(name, one.interval)
        if len(self.per_label) <= FEW_CLASSES:
            found |= {
                f"{name}_label_{label}" if f"{name}_{label}" in found else f"{name}_{label}": float(value)
                for label, score in self.per_label.items()
                for name, value in score
                if value is not None
            }
        return found


class Metrics(BaseMetrics):
    """What `metrics.json` holds."""

    test: LabelScores
    validation: LabelScores


class Thresholds(ResultFile):
    """`thresholds.json`: from which probability on each label is given; key: of the training they were found for."""

    key: str
    thresholds: Mapping[str, float]


def find_thresholds(folder: Path, key: str) -> Thresholds | None:
    """Return the thresholds in the folder of a run; None if it was not evaluated since it was trained."""
    path = folder / FOLDER / THRESHOLDS
    found = read_result(path, Thresholds, made_by(folder, "evaluate")) if path.exists() else None
    return found if found and found.key == key else None


def joined_labels(held: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the labels of each row as text, separated by `|`. held: (n, labels) bool."""
    return [FORBIDDEN.join(name for name, has in zip(names, row, strict=True) if has) for row in held]


def label_flags(cells: "pd.Series[str]", names: Sequence[str]) -> np.ndarray:
    """Return what `joined_labels` was made of, (n, labels) bool."""
    held = [set(cell.split(FORBIDDEN)) for cell in cells]
    return np.array([[name in labels for name in names] for labels in held], dtype=bool).reshape(len(held), len(names))
