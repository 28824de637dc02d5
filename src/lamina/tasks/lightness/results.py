"""What the stages of a run that learns lightness from color left behind, and who comes first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from lamina.report.tables import same_pictures
from lamina.results.reading import Written, read_json, read_table
from lamina.results.trained import Trained, read_trained, stage
from lamina.tasks.colorize.results import HISTORY, Interval

KIND: Final = "pretext"
PREDICTED: Final = ("id", "origin", "mse", "level_mse")


class LightnessScore(Written):
    """One fold's part of `metrics.json`: MSE in squared units of L; level: that of the training mean L everywhere."""

    n: int
    origins: int
    mse: float
    interval: Interval = None
    level: float

    @property
    def gone(self) -> float | None:
        """The share of the level that is gone, 1 where nothing is left; None where that level is already right."""
        return 1 - self.mse / self.level if self.level else None


class LightnessMetrics(Written):
    test: LightnessScore
    validation: LightnessScore


@dataclass(frozen=True, kw_only=True)
class PretextRun(Trained):
    """Everything that the report says about a pretext run.

    predictions: the columns of `predictions.parquet`; sheet: `lightness.png`, None where it is not there.
    """

    metrics: LightnessMetrics
    predictions: pd.DataFrame
    sheet: Path | None


def read_pretext_run(system: Path, name: str) -> PretextRun:
    """Read one pretext run of a system's folder.

    Raises UserError, naming the stage to run, where it was not trained or evaluated yet or a file is broken.
    """
    folder, evaluate = system / "models" / name, stage("evaluate", KIND, name)
    sheet = folder / "lightness.png"
    return PretextRun(
        **read_trained(system, name, KIND, HISTORY),
        metrics=read_json(folder / "metrics.json", LightnessMetrics, evaluate),
        predictions=read_table(folder / "predictions.parquet", PREDICTED, evaluate),
        sheet=sheet if sheet.exists() else None,
    )


def ranked_pretexts(runs: Sequence[PretextRun]) -> list[PretextRun]:
    """Lowest test MSE first; equals by name. Raises UserError where runs were tested on other pictures."""
    if runs:
        same_pictures({run.name: run.predictions for run in runs})
    return sorted(runs, key=lambda run: (run.metrics.test.mse, run.name))
