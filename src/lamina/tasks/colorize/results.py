"""What the stages write about a run that colorizes."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Final

import pandas as pd

from lamina.maths import color_scores
from lamina.maths.color_scores import RANGES
from lamina.results.metrics import Interval, Scores, bounds
from lamina.results.metrics import Metrics as BaseMetrics
from lamina.results.result_file import ResultFile

PREDICTED: Final = ("id", "origin", "mse", "grey_mse", "mean_mse")


class Measured(ResultFile):
    """A measure with its 95 % interval, and the values of both baselines: grey, and the training mean color.

    true: the value of the true colors, where they have one.
    """

    value: float
    interval: Interval = None
    grey: float
    mean: float
    true: float | None = None


class Against(ResultFile):
    """MSE less that of a baseline on the same pictures: negative is better."""

    difference: float
    interval: Interval = None

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `open` where the interval holds zero or there is none."""
        low, high = self.interval or (-math.inf, math.inf)
        return "better" if high < 0 else "worse" if low > 0 else "open"


class Differences(ResultFile):
    """The run against each baseline."""

    grey: Against
    mean: Against


class ColorScores(Scores):
    """Scores of a fold. mse: of a and b, in squared CIELAB units; measures: all of them, by name."""

    measure: ClassVar[str] = "mse"

    mse: float
    measures: dict[str, Measured]
    against: Differences

    @property
    def gone(self) -> float | None:
        """The share of the MSE of grey that is gone, at most 1; None where grey is already right."""
        grey = self.measures["mse"].grey
        return 1 - self.mse / grey if grey else None

    def scalars(self) -> dict[str, float]:
        found = super().scalars()
        for name, one in self.measures.items():
            values = {"": one.value, "_grey": one.grey, "_mean": one.mean, "_true": one.true}
            found |= {f"{name}{suffix}": float(value) for suffix, value in values.items() if value is not None}
            found |= bounds(name, one.interval)
        for baseline, against in self.against:
            found |= {f"against_{baseline}_difference": against.difference}
            found |= bounds(f"against_{baseline}_difference", against.interval)
        return found


class Metrics(BaseMetrics):
    """What `metrics.json` holds."""

    test: ColorScores
    validation: ColorScores


def summarise(judged: pd.DataFrame, names: Iterable[str] = tuple(RANGES)) -> dict[str, Any]:
    """Return the scores of judged pictures; see `lamina.maths.color_scores.summarise`.

    Args:
        judged: `origin`, and the measures of each picture and baseline.
        names: of the measures.
    """
    found = color_scores.summarise(judged, judged["origin"], names)
    mse = found["measures"]["mse"]
    return found | {"mse": mse["value"], "interval": mse["interval"]}
