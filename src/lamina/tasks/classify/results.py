"""What the stages write about a run that classifies."""

from typing import ClassVar

from lamina.results.metrics import FEW_CLASSES, Scores, bounds
from lamina.results.metrics import Metrics as BaseMetrics
from lamina.results.result_file import ResultFile

PREDICTED = ("id", "origin", "label", "predicted")  # columns of predictions.parquet before those of the classes


class ClassScore(ResultFile):
    """Precision, recall and F1 (0 to 1) of one class, and its number of pictures."""

    precision: float
    recall: float
    f1: float
    n: int


class Calibration(ResultFile):
    """How far probabilities are from the rates of correct answers; 0 to 1, `brier` 0 to 2."""

    ece: float
    interval: tuple[float, float]
    by_chance: float
    brier: float
    log_loss: float


class ClassScores(Scores):
    """Scores of a fold; rates from 0 to 1. majority: what always answering the most frequent class would score."""

    measure: ClassVar[str] = "accuracy"

    accuracy: float
    macro_f1: float
    per_class: dict[str, ClassScore]
    majority: float
    calibration: Calibration | None = None

    def scalars(self) -> dict[str, float]:
        """Return all scores as plain numbers by name; those of single classes only of at most `FEW_CLASSES`."""
        found = super().scalars()
        if len(self.per_class) <= FEW_CLASSES:
            found |= {
                f"{name}_{label}": float(value) for label, score in self.per_class.items() for name, value in score
            }
        if self.calibration:
            calibrated = self.calibration
            found |= {name: getattr(calibrated, name) for name in ("ece", "brier", "log_loss")}
            found |= bounds("ece", calibrated.interval)
        return found


class Metrics(BaseMetrics):
    """What `metrics.json` holds."""

    test: ClassScores
    validation: ClassScores
