"""What the stages write about a run that predicts a number."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from lamina.results.estimate import Estimate
from lamina.results.folders import made_by
from lamina.results.metrics import Metrics as BaseMetrics
from lamina.results.metrics import Scores, bounds
from lamina.results.result_file import ResultFile, read_result
from lamina.results.uncertainty import FOLDER

PREDICTED: Final = ("id", "origin", "target", "predicted")  # columns of predictions.parquet
MARGIN: Final = "margin.json"
FEWEST_DIGITS: Final = 4
FLOAT32_DIGITS: Final = 9  # more hold nothing that a network gives


class Coverage(ResultFile):
    """Share of the numbers within `margin` (None: infinite) of their prediction, and what was wanted."""

    wanted: float
    coverage: float
    interval: tuple[float, float]
    margin: float | None


class NumberScores(Scores):
    """Scores of a fold; see `lamina.maths.number_scores.number_scores`. A cross-validation has the MAE alone.

    Attributes:
        baseline: MAE of always predicting the mean of the training pictures.
        held: how many numbers lie within the margin of the validation fold; of the test fold.
    """

    measure: ClassVar[str] = "mae"

    mae: float
    baseline: float | None = None
    further: Mapping[str, Estimate] = {}
    held: Coverage | None = None

    @property
    def gone(self) -> float | None:
        """The share of the baseline's error that is gone, at most 1; None where the baseline is already right."""
        return 1 - self.mae / self.baseline if self.baseline else None

    def scalars(self) -> dict[str, float]:
        found = super().scalars()
        for name, one in self.further.items():
            found |= {name: one.value} | bounds(name, one.interval)
        if self.held:
            found |= {"held": self.held.coverage} | bounds("held", self.held.interval)
        return found


class Metrics(BaseMetrics):
    """What `metrics.json` holds."""

    test: NumberScores
    validation: NumberScores


class Margin(ResultFile):
    """`margin.json`: how far the true number lies from a prediction, at most, with the probability `coverage`.

    Attributes:
        key: of the training that it was measured for.
        value: in units of the target; None: too few origins to say.
        origins: of the validation fold that it comes from.
    """

    key: str
    coverage: float
    value: float | None
    origins: int


def in_digits(value: float, spread: float) -> str:
    """Write a number with four digits, and with as many more as numbers so far apart need: years such as 1987.25.

    spread: how far numbers lie apart, as a margin or a standard deviation; 0 where that is not known.
    """
    apart = abs(value) / spread if spread > 0 else 0.0
    needed = math.ceil(math.log10(apart)) + 1 if 0 < apart < math.inf else 0
    return f"{value:.{min(max(needed, FEWEST_DIGITS), FLOAT32_DIGITS)}g}"


def find_margin(folder: Path, key: str) -> Margin | None:
    """Return the margin in the folder of a run; None if it was not evaluated since it was trained."""
    path = folder / FOLDER / MARGIN
    found = read_result(path, Margin, made_by(folder, "evaluate")) if path.exists() else None
    return found if found and found.key == key else None
