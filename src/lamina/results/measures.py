"""Measures of a run's results: read from its files, compared picture by picture, and shown."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lamina.errors import UserError
from lamina.results.measure_names import HIGHER_IS_BETTER, MeasureName

# the cells of a baseline's line, by the picture's id
Answers: TypeAlias = dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of a run's answers for the same test pictures.

    A loss is a fall of a share such as the accuracy, or a rise of an error as a share of the error before. Below 0 it
    is a gain.

    Attributes:
        before, after: The measure.
        shown: Both with their 95 % intervals over origins.
        better, worse: Numbers of pictures.
        loss: The loss; interval: its 95 % interval over origins.
        error: The error before, in the unit of the loss: 1 - accuracy, or 1 for errors such as the MSE.
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
        share: Whether it is a share, from 0 to 1.
        columns: Of `predictions.parquet`, which a baseline keeps in addition to `id`.
        truth: A column there that follows from the true answer alone, which a baseline keeps, too, where there is one.
        margin: Of the gate: by which share the error (1 - accuracy, or such as the MSE) may grow before it matters.
        legend: Explains the gate's table.
    """

    name: ClassVar[MeasureName]
    title: ClassVar[str]
    spec: ClassVar[str]
    share: ClassVar[bool]
    columns: ClassVar[tuple[str, ...]]
    truth: ClassVar[str | None] = None
    margin: ClassVar[float]
    legend: ClassVar[str]

    @property
    def higher_is_better(self) -> bool:
        """False for errors."""
        return HIGHER_IS_BETTER[self.name]

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

    def amount(self, loss: float) -> str:
        """Return a loss as text."""
        return f"{loss:.3f}" if self.share else f"{100 * loss:.2g} %"

    def difference(self, change: Change) -> str:
        """Return the difference, after minus before, with its interval, as text."""
        sign = -1 if self.higher_is_better else 1
        unit, spec, end = (1, "+.3f", "") if self.share else (100, "+.2f", " %")
        loss, *ends = (format(0 + sign * unit * value, spec) for value in (change.loss, *change.interval))
        bounds = ", ".join(ends[::sign]) if np.isfinite(change.interval).all() else "one origin"
        return f"{loss}{end} [{bounds}]"


class Accuracy(Measure):
    """Share of correct predictions."""

    name = "accuracy"
    title = "accuracy"
    spec = ".3f"
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

    def _with_interval(self, right: NDArray[np.bool_], origin: Sequence[str]) -> str:
        from lamina.maths.scores import accuracy_interval

        return _shown(self, float(right.mean()), accuracy_interval(right, origin))


class MeanMeasure(Measure):
    """A mean over pictures.

    Attributes:
        same: Smaller differences of one picture, as a share of its value, are invisible.
    """

    same: ClassVar[float] = 1e-3

    def visible(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return which difference of each picture is visible, (n,), by the values before it."""
        return np.maximum(self.same * values, self.same)

    @abstractmethod
    def of_each(self, answers: Answers, keys: Sequence[str]) -> NDArray[np.float64]:
        """Return the measure of each picture."""

    @abstractmethod
    def another_truth(self, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        """Whether the cells of a picture say that its true answer has changed."""

    def value(self, answers: Answers) -> float:
        return math.fsum(self.of_each(answers, [*answers])) / len(answers)

    def change(self, before: Answers, after: Answers, origins: Mapping[str, str]) -> Change:
        from lamina.maths.means import mean_interval, paired_mean_test

        keys = sorted(after)
        changed = [key for key in keys if self.another_truth(before[key], after[key])]
        if changed:
            raise UserError(
                f"{len(changed)} examples have other true answers ({changed[0]}, ...); --accept renews the baseline"
            )
        first, second = (self.of_each(answers, keys) for answers in (before, after))
        origin, mean = [origins[key] for key in keys], float(first.mean())
        losses = first - second if self.higher_is_better else second - first
        visible = self.visible(first)
        unit = 1.0 if self.share else mean or sys.float_info.min  # without any error before, each is infinitely more
        low, high = map(float, mean_interval(losses, origin))
        return Change(
            before=mean,
            after=float(second.mean()),
            shown=(self._with_interval(first, origin), self._with_interval(second, origin)),
            better=int(np.sum(losses < -visible)),
            worse=int(np.sum(losses > visible)),
            loss=float(losses.mean()) / unit,
            interval=(low / unit, high / unit),
            error=1 - mean if self.share else 1.0,
            p=float(paired_mean_test(first, second, origin)),
            origins=len(set(origin)),
        )

    def _with_interval(self, values: NDArray[np.float64], origin: Sequence[str]) -> str:
        from lamina.maths.label_scores import share_interval
        from lamina.maths.means import mean_interval

        low, high = (share_interval if self.share else mean_interval)(values, origin)
        return _shown(self, float(values.mean()), (max(0.0, low), high))  # no error is below 0


class MeanSquaredError(MeanMeasure):
    """Mean squared error of predicted pictures, in squared units of the target."""

    name = "mse"
    title = "MSE"
    spec = ".4g"
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

    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        numbers = _numbers(values)
        if not all(0 <= number < math.inf for number in numbers):
            raise ValueError(f"expected an MSE of 0 or more, got {numbers}")
        return tuple(f"{number:.{self.decimals}f}" for number in numbers)

    def of_each(self, answers: Answers, keys: Sequence[str]) -> NDArray[np.float64]:
        return np.array([float(answers[key][0]) for key in keys])

    def another_truth(self, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        """Whether the truth differs visibly; False if a baseline of an older version does not hold it."""
        return any(
            abs(float(new) - float(old)) > max(self.same * float(old), self.same)
            for old, new in zip(before[1:], after[1:], strict=False)
        )


class MeanAbsoluteError(MeanMeasure):
    """Mean absolute error of predicted numbers, in units of the target."""

    name = "mae"
    title = "MAE"
    spec = ".4g"
    share = False
    columns = ("target", "predicted")
    margin = 0.02
    digits: ClassVar[int] = 9  # all that float32 has: the error of a number far from 0 is in the last ones
    older_digits: ClassVar[int] = 7
    legend = (
        "Mean absolute error on the test examples, in units of the target, and its difference, with 95 % intervals "
        "over origins: lower is better; examples whose error fell (better) and rose (worse) by more than 0.1 %; p of a "
        "paired test over origins, after Holm's correction for the number of runs."
    )

    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        numbers = _numbers(values)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"expected finite numbers, got {numbers}")
        return tuple(f"{number:.{self.digits}g}" for number in numbers)

    def of_each(self, answers: Answers, keys: Sequence[str]) -> NDArray[np.float64]:
        return np.array([abs(float(answers[key][0]) - float(answers[key][1])) for key in keys])

    def visible(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(self.same * values, self.same * float(values.mean()))  # a target has any unit

    def another_truth(self, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        """Whether the numbers differ by more than the rounding of baselines of older versions."""
        old, new = before[0], after[0]
        if old == new or f"{float(old):.{self.older_digits}g}" != old:
            return old != new
        exponent = math.floor(math.log10(abs(float(old)))) if float(old) else 0
        return abs(float(new) - float(old)) > 0.51 * 10.0 ** (exponent + 1 - self.older_digits)


class MeanF1(MeanMeasure):
    """Mean F1 of the labels of each picture or text."""

    name = "f1"
    title = "F1 per example"
    spec = ".3f"
    share = True
    columns = ("labels", "predicted")
    margin = 0.1
    legend = (
        "Mean over the test examples of the F1 of their labels, and its difference, with 95 % intervals over origins; "
        "examples whose F1 rose (better) and fell (worse); p of a paired test over origins, after Holm's correction "
        "for the number of runs."
    )

    def cells(self, values: Sequence[Any]) -> tuple[str, ...]:
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"expected labels, got {list(values)}")
        return tuple(values)

    def of_each(self, answers: Answers, keys: Sequence[str]) -> NDArray[np.float64]:
        return np.array([_f1(*map(_labels, answers[key])) for key in keys])

    def another_truth(self, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        return _labels(before[0]) != _labels(after[0])


MEASURES: Final[Mapping[MeasureName, Measure]] = MappingProxyType(
    {measure.name: measure for measure in (Accuracy(), MeanF1(), MeanAbsoluteError(), MeanSquaredError())}
)


def _numbers(values: Sequence[Any]) -> list[float]:
    try:
        return [float(value) for value in values]
    except TypeError as error:
        raise ValueError(str(error)) from None


def _labels(cell: str) -> set[str]:
    return set(filter(None, cell.split("|")))


def _f1(true: set[str], predicted: set[str]) -> float:
    """F1 of the labels of one picture; 1 where there is none and none is predicted."""
    count = len(true) + len(predicted)
    return 2 * len(true & predicted) / count if count else 1.0


def _right(answers: Answers, keys: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([answers[key][0] == answers[key][1] for key in keys])


def _shown(measure: Measure, value: float, interval: Sequence[float]) -> str:
    bounds = ", ".join(map(measure.shown, interval)) if np.isfinite(interval).all() else "one origin"
    return f"{measure.shown(value)} [{bounds}]"
