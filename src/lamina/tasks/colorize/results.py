"""What the stages of a run that colors pictures left behind."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import pandas as pd
from pydantic import BeforeValidator

from lamina.results.reading import Written, read_json, read_table
from lamina.results.trained import Trained, read_trained, stage

HISTORY: Final = ("epoch", "train_loss", "train_mse", "validation_loss", "validation_mse")
PREDICTED: Final = ("id", "origin", "mse", "grey_mse", "mean_mse")
CROSSVALIDATED: Final = (*PREDICTED, "fold")
SHEETS: Final = ("learning", "colors", "extremes")


def _known(interval: Any) -> Any:
    """None for an interval that is none, as that over a single origin."""
    ends = interval if isinstance(interval, list) else []
    return None if any(end is None or (isinstance(end, float) and not math.isfinite(end)) for end in ends) else interval


Interval: TypeAlias = Annotated[tuple[float, float] | None, BeforeValidator(_known)]


class Measured(Written):
    """A measure of the colors predicted, its 95 % interval over origins, and that of both baselines: grey, and the
    training pictures' mean color everywhere. true: that of the true colors, where they have one of their own."""

    value: float
    interval: Interval = None
    grey: float
    mean: float
    true: float | None = None


class Against(Written):
    """MSE less that of a baseline on the same pictures: negative is better."""

    difference: float
    interval: Interval = None

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `open` where the interval holds zero or there is none."""
        low, high = self.interval or (-math.inf, math.inf)
        return "better" if high < 0 else "worse" if low > 0 else "open"


class Measures(Written):
    """MSE in squared CIELAB units of a and b, PSNR in dB, CIEDE2000 and colorfulness in their units, others 0 to 1."""

    mse: Measured
    psnr: Measured
    ssim: Measured
    ciede2000: Measured
    colorfulness: Measured
    auc: Measured
    auc_rebalanced: Measured


class Differences(Written):
    grey: Against
    mean: Against


class ColorScore(Written):
    """One fold's part of `metrics.json`."""

    n: int
    origins: int
    measures: Measures
    against: Differences

    @property
    def gone(self) -> float | None:
        """The share of grey's MSE that is gone, 1 where nothing is left; None where grey is already right."""
        mse = self.measures.mse
        return 1 - mse.value / mse.grey if mse.grey else None


class ColorMetrics(Written):
    test: ColorScore
    validation: ColorScore


class MseSpread(Written):
    """MSE of several trainings; the deviation of one of them, None where there is but one."""

    mse: list[float]
    mean: float
    deviation: float | None


class ColorRepeats(Written):
    seeds: list[int]
    test: MseSpread
    validation: MseSpread


class ColorFold(Written):
    mse: float
    n: int


class CrossValidatedMeasures(Written):
    mse: Measured


class ColorCrossValidation(Written):
    """Every picture colored by a training that did not learn from its origin; `mean` is that training's mean color."""

    n: int
    origins: int
    measures: CrossValidatedMeasures
    against: Differences
    folds: list[ColorFold]
    starts_from_file: bool = False


class ColorAssessment(Written):
    """`assessment.json` of a colorizer: what training it again told, as far as that was asked for."""

    repeats: ColorRepeats | None = None
    crossvalidation: ColorCrossValidation | None = None


@dataclass(frozen=True, kw_only=True)
class ColorRun(Trained):
    """Everything that the report says about a run that colors pictures.

    predictions: the columns of `predictions.parquet`. assessment: empty where nothing was asked for; crossvalidated:
    the columns of `crossvalidation.parquet`, no rows without. sheets: those that are there, by the name of their file.
    """

    metrics: ColorMetrics
    predictions: pd.DataFrame
    assessment: ColorAssessment
    crossvalidated: pd.DataFrame
    sheets: Mapping[str, Path]


def read_color_run(system: Path, name: str) -> ColorRun:
    """Read one colorizer of a system's folder.

    Raises UserError, naming the stage to run, where it was not trained or evaluated yet or a file is broken.
    """
    folder = system / "models" / name
    assess, evaluate = (stage(step, "colorize", name) for step in ("assess", "evaluate"))
    assessment = folder / "assessment.json"
    assessed = read_json(assessment, ColorAssessment, assess) if assessment.exists() else ColorAssessment()
    sheets = {sheet: folder / f"{sheet}.png" for sheet in SHEETS}
    return ColorRun(
        **read_trained(system, name, "colorize", HISTORY),
        metrics=read_json(folder / "metrics.json", ColorMetrics, evaluate),
        predictions=read_table(folder / "predictions.parquet", PREDICTED, evaluate),
        assessment=assessed,
        crossvalidated=read_table(folder / "crossvalidation.parquet", CROSSVALIDATED, assess)
        if assessed.crossvalidation
        else pd.DataFrame(columns=list(CROSSVALIDATED)),
        sheets={sheet: path for sheet, path in sheets.items() if path.exists()},
    )
