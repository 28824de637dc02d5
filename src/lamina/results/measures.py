"""Measures of a run's results: read from its files, compared picture by picture, and shown."""

import math
import sys
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

    A loss is a fall of accuracy, or a rise of the MSE as a share of the MSE before; below 0 it is a gain.

    Attributes:
        before, after: The measure.
        shown: Both with their 95 % intervals over origins.
        better, worse: Numbers of pictures.
        loss: The loss; interval: its 95 % interval over origins.
        error: The error before, in the unit of the loss: 1 - accuracy, or 1 for an MSE.
        p: Of a paired test over origins, of no change.
        origins: Number of origins.
    """

    before: float
    after: float
    shown: tuple[str, str]
    better: int
    worse: int
    loss: float
    interval: tuple[float, float]
    error: float
    p: float
    origins: int

    @property
    def is_none(self) -> bool:
        """Whether nothing changed."""
        return not (self.better or self.worse or self.loss)


class Measure(ABC):
    """How one measure is read, compared and shown.

    Attributes:
        name: In `metrics.json`.
        title: In tables and messages.
        spec: Format of its values.
        higher_is_better: False for errors.
        share: Whether it is a share, from 0 to 1.
        columns: Of `predictions.parquet`, which a baseline keeps in addition to `id`.
        truth: A column there that follows from the true answer alone, which a baseline keeps, too, where there is one.
        margin: Of the gate: by which share the error (1 - accuracy, or the MSE) may grow before it matters.
        legend: Explains the gate's table.
    """

    name: ClassVar[MeasureName]
    title: ClassVar[str]
    spec: ClassVar[str]
    higher_is_better: ClassVar[bool]
    share: ClassVar[bool]
    columns: ClassVar[tuple[str, ...]]
    truth: ClassVar[str | None] = None
    margin: ClassVar[float]
    legend: ClassVar[str]

    @abstractmethod
    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        """Return a baseline's cells for one picture, from its `columns` and its `truth`, if that is there.

        Raises:
            ValueError: If they are not valid.
        """

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
        """Compare answers for the same pictures; raises UserError if the true answers differ."""

    @abstractmethod
    def amount(self, loss: float) -> str:
        """Return a loss as text."""

    @abstractmethod
    def difference(self, change: Change) -> str:
        """Return the difference, after minus before, with its interval, as text."""


class Accuracy(Measure):
    """Share of correct predictions."""

    name = "accuracy"
    title = "accuracy"
    spec = ".3f"
    higher_is_better = True
    share = True
    columns = ("label", "predicted")
    margin = 0.1
    legend = (
        "Accuracy on the test examples, and its difference, with 95 % intervals over origins; examples that became "
        "right (better) and wrong (worse); p of the exact paired test over origins, after Holm's correction for the "
        "number of runs."
    )

    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        if not all(isinstance(value, str) and value for value in values):
            raise ValueError(f"expected words, got {list(values)}")
        return tuple(values)

    def value(self, answers: Answers) -> float:
        return sum(label == predicted for label, predicted in answers.values()) / len(answers)

    def change(self, before: Answers, after: Answers, origins: Mapping[str, str]) -> Change:
        from lamina.maths.comparison import difference_interval, paired_test

        keys = sorted(after)
        relabeled = [key for key in keys if before[key][0] != after[key][0]]
        if relabeled:
            raise UserError(
                f"{len(relabeled)} examples have another label ({relabeled[0]}, ...); --accept renews the baseline"
            )
        first, second, origin = _right(before, keys), _right(after, keys), [origins[key] for key in keys]
        better, worse = int(np.sum(second & ~first)), int(np.sum(first & ~second))
        return Change(
            before=float(first.mean()),
            after=float(second.mean()),
            shown=(self._with_interval(first, origin), self._with_interval(second, origin)),
            better=better,
            worse=worse,
            loss=(worse - better) / len(keys),
            interval=difference_interval(first, second, origin),
            error=1 - float(first.mean()),
            p=paired_test(first, second, origin),
            origins=len(set(origin)),
        )

    def amount(self, loss: float) -> str:
        return f"{loss:.3f}"

    def difference(self, change: Change) -> str:
        low, high = change.interval
        return f"{0 - change.loss:+.3f} [{0 - high:+.3f}, {0 - low:+.3f}]"

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
    truth = "grey_mse"  # of a and b 0 everywhere
    margin = 0.02
    legend = (
        "MSE on the test pictures, in squared units of the target (of colorizers a and b of CIELAB), and its "
        "difference, with 95 % intervals over origins: lower is better; pictures whose MSE fell (better) and rose "
        "(worse) by more than 0.1 %; p of a paired test over origins, after Holm's correction for the number of runs."
    )
    decimals: ClassVar[int] = 4
    same: ClassVar[float] = 1e-3  # smaller differences of one picture are invisible

    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        try:
            numbers = [float(value) for value in values]
        except TypeError as error:
            raise ValueError(str(error)) from None
        if not all(0 <= number < math.inf for number in numbers):
            raise ValueError(f"expected an MSE of 0 or more, got {numbers}")
        return tuple(f"{number:.{self.decimals}f}" for number in numbers)

    def value(self, answers: Answers) -> float:
        return math.fsum(float(cells[0]) for cells in answers.values()) / len(answers)

    def change(self, before: Answers, after: Answers, origins: Mapping[str, str]) -> Change:
        from lamina.maths.means import mean_interval, paired_mean_test

        keys = sorted(after)
        repainted = [key for key in keys if self._another_truth(before[key], after[key])]
        if repainted:
            raise UserError(
                f"{len(repainted)} pictures have other true colors ({repainted[0]}, ...); --accept renews the baseline"
            )
        first, second = (np.array([float(answers[key][0]) for key in keys]) for answers in (before, after))
        origin = [origins[key] for key in keys]
        rises, visible, mean = second - first, np.maximum(self.same * first, self.same), float(first.mean())
        unit = mean or sys.float_info.min  # without any error before, each is infinitely more
        low, high = map(float, mean_interval(rises, origin))
        return Change(
            before=mean,
            after=float(second.mean()),
            shown=(self._with_interval(first, origin), self._with_interval(second, origin)),
            better=int(np.sum(rises < -visible)),
            worse=int(np.sum(rises > visible)),
            loss=float(rises.mean()) / unit,
            interval=(low / unit, high / unit),
            error=1.0,
            p=float(paired_mean_test(first, second, origin)),
            origins=len(set(origin)),
        )

    def amount(self, loss: float) -> str:
        return f"{100 * loss:.2g} %"

    def difference(self, change: Change) -> str:
        low, high = change.interval
        bounds = f"{100 * low:+.2f}, {100 * high:+.2f}" if np.isfinite(high) else "one origin"
        return f"{100 * change.loss:+.2f} % [{bounds}]"

    def _another_truth(self, before: Sequence[str], after: Sequence[str]) -> bool:
        """Whether the truth differs visibly; False if a baseline of an older version does not hold it."""
        return any(
            abs(float(new) - float(old)) > max(self.same * float(old), self.same)
            for old, new in zip(before[1:], after[1:], strict=False)
        )

    def _with_interval(self, values: NDArray[np.float64], origin: Sequence[str]) -> str:
        from lamina.maths.means import mean_interval

        return _shown(self, float(values.mean()), mean_interval(values, origin))


MEASURES: Final[Mapping[MeasureName, Measure]] = MappingProxyType({"accuracy": Accuracy(), "mse": MeanSquaredError()})


def _right(answers: Answers, keys: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([answers[key][0] == answers[key][1] for key in keys])


def _shown(measure: Measure, value: float, interval: Sequence[float]) -> str:
    bounds = ", ".join(map(measure.shown, interval)) if np.isfinite(interval).all() else "one origin"
    return f"{measure.shown(value)} [{bounds}]"
