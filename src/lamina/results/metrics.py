"""`metrics.json`: scores on the validation and the test fold. Each task has its own class of scores."""

import math
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import BeforeValidator

from lamina.results.result_file import ResultFile

FEW_CLASSES: Final = 30  # largest number of classes that are all shown, each by itself: more cannot be read


def _bounded(interval: Any) -> Any:
    """Return None for an interval without finite ends, as over a single origin."""
    ends = interval if isinstance(interval, list | tuple) else []
    infinite = any(end is None or (isinstance(end, float) and not math.isfinite(end)) for end in ends)
    return None if infinite else interval


Interval: TypeAlias = Annotated[tuple[float, float] | None, BeforeValidator(_bounded)]


class Scores(ResultFile):
    """Scores of one fold, whatever the task.

    A subclass has a field with the name of its `measure`.

    Attributes:
        interval: 95 % interval of the measure, counted over origins; None where there is but one origin.
        n, origins: pictures (or texts), and the origins they come from.
    """

    measure: ClassVar[str]

    interval: Interval = None
    n: int
    origins: int

    @property
    def value(self) -> float:
        """The measure's value."""
        return float(getattr(self, self.measure))

    def scalars(self) -> dict[str, float]:
        """Return all scores as plain numbers by name, as MLflow shows them."""
        plain = {name: value for name, value in self if isinstance(value, int | float)}
        return {name: float(value) for name, value in plain.items()} | bounds(self.measure, self.interval)


class Metrics(ResultFile):
    """What `metrics.json` holds. Subclasses give the folds their own class of scores."""

    test: Scores
    validation: Scores

    def scalars(self) -> dict[str, float]:
        """Return all scores by name: `test_accuracy`, `test_accuracy_low`, ..."""
        return {f"{fold}_{name}": value for fold, scores in self for name, value in scores.scalars().items()}


def bounds(name: str, interval: tuple[float, float] | None) -> dict[str, float]:
    """Return the ends of an interval as scores `NAME_low` and `NAME_high`; nothing where there is no interval."""
    return {} if interval is None else {f"{name}_low": float(interval[0]), f"{name}_high": float(interval[1])}
