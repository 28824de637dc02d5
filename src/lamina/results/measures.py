"""Measures of a run's results: read from its files, compared picture by picture, and shown."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lamina.errors import UserError

MeasureName: TypeAlias = Literal["accuracy", "mse"]

# the cells of a baseline's line, by the picture's id
Answers: TypeAlias = dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of a run's answers for the same test pictures.

    Attributes:
        before, after: The measure with its 95 % interval over origins, as shown.
        better, worse: Numbers of pictures.
        worsening: In the unit of the gate's tolerance; negative for an improvement.
        p: Of a paired test over origins, of no change.
    """

    before: str
    after: str
    better: int
    worse: int
    worsening: float
    p: float


class Measure(ABC):
    """How one measure is read, compared and shown.

    Attributes:
        name: In `metrics.json`.
        title: In tables and messages.
        spec: Format of its values.
        higher_is_better: False for errors.
        share: Whether it is a share, from 0 to 1.
        columns: Of `predictions.parquet`, which a baseline keeps in addition to `id`.
        legend: Explains the gate's table.
    """

    name: ClassVar[MeasureName]
    title: ClassVar[str]
    spec: ClassVar[str]
    higher_is_better: ClassVar[bool]
    share: ClassVar[bool]
    columns: ClassVar[tuple[str, ...]]
    legend: ClassVar[str]

    @abstractmethod
    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        """Return a baseline's cells for one picture, from its `columns`; raises ValueError if they are not valid."""

    @abstractmethod
    def value(self, answers: Answers) -> float:
        """Return the measure over all pictures."""

    def shown(self, value: float) -> str:
        """Return the value as text."""
        return format(value, self.spec)

    def score(self, scores: Mapping[str, Any]) -> float:
        """Return the value in a fold's scores of `metrics.json`; raises KeyError if there is none."""
        return float(scores[self.name])

    @abstractmethod
    def change(self, before: Answers, after: Answers, origins: Mapping[str, str]) -> Change:
        """Compare answers for the same pictures; raises UserError if their labels differ."""

    @abstractmethod
    def too_far(self, worsening: float, tolerance: float) -> str:
        """Return in words that the measure got worse by more than the tolerance."""


class Accuracy(Measure):
    """Share of correct predictions."""

    name = "accuracy"
    title = "accuracy"
    spec = ".3f"
    higher_is_better = True
    share = True
    columns = ("label", "predicted")
    legend = (
        "Accuracy on the test examples with its 95 % interval over origins; examples that became right (better) and "
        "wrong (worse); p of the exact paired test over origins, after Holm's correction for the number of runs."
    )

    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        if not all(isinstance(value, str) and value for value in values):
            raise ValueError(f"expected words, got {list(values)}")
        return tuple(values)

    def value(self, answers: Answers) -> float:
        return sum(label == predicted for label, predicted in answers.values()) / len(answers)

    def change(self, before: Answers, after: Answers, origins: Mapping[str, str]) -> Change:
        from lamina.maths.comparison import paired_test

        keys = sorted(after)
        relabeled = [key for key in keys if before[key][0] != after[key][0]]
        if relabeled:
            raise UserError(
                f"{len(relabeled)} examples have another label ({relabeled[0]}, ...); --accept renews the baseline"
            )
        first, second, origin = _right(before, keys), _right(after, keys), [origins[key] for key in keys]
        better, worse = int(np.sum(second & ~first)), int(np.sum(first & ~second))
        return Change(
            before=self._with_interval(first, origin),
            after=self._with_interval(second, origin),
            better=better,
            worse=worse,
            worsening=(worse - better) / len(keys),
            p=paired_test(first, second, origin),
        )

    def too_far(self, worsening: float, tolerance: float) -> str:
        return f"fell by {worsening:.3f}, more than {tolerance:g}"

    def _with_interval(self, right: NDArray[np.bool_], origin: Sequence[str]) -> str:
        from lamina.maths.scores import accuracy_interval

        return _shown(self, float(right.mean()), accuracy_interval(right, origin))


class MeanSquaredError(Measure):
    """Mean squared error of predicted numbers, in squared units of the target."""

    name = "mse"
    title = "MSE"
    spec = ".4g"
    higher_is_better = False
    share = False
    columns = ("mse",)
    legend = (
        "MSE on the test pictures, in squared units of the target (of colorizers a and b of CIELAB), with its 95 % "
        "interval over origins: lower is better; pictures whose MSE fell (better) and rose (worse) by more than 0.1 %; "
        "p of a paired test over origins, after Holm's correction for the number of runs."
    )
    decimals: ClassVar[int] = 4
    # Another processor or library may round the MSE of a picture differently. The difference is invisible, but
    # systematic, so a test would find it significant.
    same: ClassVar[float] = 1e-3

    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        try:
            (number,) = map(float, values)
        except TypeError as error:
            raise ValueError(str(error)) from None
        if not 0 <= number < math.inf:
            raise ValueError(f"expected an MSE of 0 or more, got {number}")
        return (f"{number:.{self.decimals}f}",)

    def value(self, answers: Answers) -> float:
        return math.fsum(float(number) for (number,) in answers.values()) / len(answers)

    def change(self, before: Answers, after: Answers, origins: Mapping[str, str]) -> Change:
        from lamina.maths.means import paired_mean_test

        keys = sorted(after)
        first, second = (np.array([float(answers[key][0]) for key in keys]) for answers in (before, after))
        origin = [origins[key] for key in keys]
        moved = np.where(np.abs(second - first) > np.maximum(self.same * first, self.same), second, first)
        mean = float(first.mean())
        rise = float(moved.mean()) - mean
        return Change(
            before=self._with_interval(first, origin),
            after=self._with_interval(second, origin),
            better=int(np.sum(moved < first)),
            worse=int(np.sum(moved > first)),
            worsening=rise / mean if mean else math.inf if rise else 0.0,
            p=float(paired_mean_test(first, moved, origin)),
        )

    def too_far(self, worsening: float, tolerance: float) -> str:
        return f"rose by {100 * worsening:.3g} %, more than {100 * tolerance:g} %"

    def _with_interval(self, values: NDArray[np.float64], origin: Sequence[str]) -> str:
        from lamina.maths.means import mean_interval

        return _shown(self, float(values.mean()), mean_interval(values, origin))


MEASURES: Final[Mapping[MeasureName, Measure]] = MappingProxyType({"accuracy": Accuracy(), "mse": MeanSquaredError()})


def _right(answers: Answers, keys: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([answers[key][0] == answers[key][1] for key in keys])


def _shown(measure: Measure, value: float, interval: Sequence[float]) -> str:
    bounds = ", ".join(map(measure.shown, interval)) if np.isfinite(interval).all() else "one origin"
    return f"{measure.shown(value)} [{bounds}]"
