"""What the stages of a run that names classes left behind."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.results.reading import Written, read_json, read_table
from lamina.results.trained import Trained, read_trained, stage


class ClassScore(Written):
    precision: float
    recall: float
    f1: float
    n: int


class Calibration(Written):
    """How far probabilities are from what they promise; rates from 0 to 1, `brier` from 0 to 2."""

    ece: float
    interval: tuple[float, float]
    by_chance: float
    brier: float
    log_loss: float


class Score(Written):
    """One fold's part of `metrics.json`; rates from 0 to 1, `interval` at 95 % over origins."""

    accuracy: float
    interval: tuple[float, float]
    n: int
    origins: int
    macro_f1: float
    per_class: dict[str, ClassScore]
    majority: float
    calibration: Calibration | None = None


class Metrics(Written):
    test: Score
    validation: Score


class Spread(Written):
    """Accuracies of several trainings; the deviation of one of them, None where there is but one."""

    accuracies: list[float]
    mean: float
    deviation: float | None


class Repeats(Written):
    seeds: list[int]
    test: Spread
    validation: Spread


class FoldScore(Written):
    accuracy: float
    n: int


class CrossValidation(Score):
    folds: list[FoldScore]


class Control(Written):
    """The run trained with labels dealt at random; `interval` is what chance alone makes of 95 % of such deals."""

    accuracy: float
    chance: float
    interval: tuple[float, float]
    p: float
    passed: bool


class Assessment(Written):
    """`assessment.json`: what training the run again told, as far as that was asked for."""

    repeats: Repeats | None = None
    control: Control | None = None
    crossvalidation: CrossValidation | None = None

    @property
    def told(self) -> bool:
        return bool(self.repeats or self.control or self.crossvalidation)


@dataclass(frozen=True, kw_only=True)
class Run(Trained):
    """Everything that the report says about a run that names classes.

    predictions: the columns of `predictions.parquet`. looked_at: a sheet, None where there is none.
    """

    metrics: Metrics
    predictions: pd.DataFrame
    assessment: Assessment
    looked_at: Path | None


HISTORY = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def read_run(system: Path, name: str, kind: str = "transfer") -> Run:
    """Read one run of a system's folder; kind: `transfer` or `scratch`.

    Raises UserError, naming the stage to run, where it was not trained or evaluated yet or a file is broken.
    """
    folder, evaluate = system / "models" / name, stage("evaluate", kind, name)
    assessment, looked_at = folder / "assessment.json", folder / "looked_at.png"
    trained = read_trained(system, name, kind, HISTORY)
    columns = ("id", "origin", "label", "predicted", *trained["record"].classes)
    return Run(
        **trained,
        metrics=read_json(folder / "metrics.json", Metrics, evaluate),
        predictions=read_table(folder / "predictions.parquet", columns, evaluate),
        assessment=read_json(assessment, Assessment, stage("assess", kind, name))
        if assessment.exists()
        else Assessment(),
        looked_at=looked_at if looked_at.exists() else None,
    )
