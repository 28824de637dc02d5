"""Compare the runs of one task on the same test rows; the common axis of their table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from lamina.errors import UserError
from lamina.maths.comparison import Difference, letters

MOST_TICKS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of all pairs of runs on the same test pictures.

    Attributes:
        letters: By run; two runs share a letter exactly if they do not differ significantly.
        rows: By run, its `Difference` to each run, None to itself.
    """

    letters: Mapping[str, str]
    rows: Mapping[str, Sequence[Difference | None]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A common axis from `low` to `high` with a tick every `step`; `place` maps a value to 0..100."""

    low: float
    high: float
    step: float

    def place(self, value: float) -> float:
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[float]:
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        digits = 2 - math.floor(math.log10(self.step))
        return [round(self.low + index * self.step, digits) for index in range(count + 1)]


def compared(names: Sequence[str], found: Sequence[Difference]) -> Comparison:
    """Arrange the differences of all pairs of runs.

    Args:
        names: Of the runs, best first.
        found: A difference for each pair.
    """
    known = {(one.first, one.second): one for one in found} | {(one.second, one.first): one.turned() for one in found}
    rows = {name: [known.get((name, other)) for other in names] for name in names}
    return Comparison(letters=letters(names, found), rows=rows)


def same_pictures(predictions: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Sort the runs' predictions by picture.

    Raises:
        UserError: If the runs were tested on different pictures.
    """
    answers = {name: table.sort_values("id") for name, table in predictions.items()}
    first = next(iter(answers))
    for name, table in answers.items():
        if list(table["id"]) != list(answers[first]["id"]):
            raise UserError(f"{name}/predictions.parquet: other test pictures than those of {first}; run `dvc repro`")
    return answers


def number_scale(values: Sequence[float]) -> Scale:
    """Return the narrowest axis for some values, in steps of 1, 2 or 5 times 10**k."""
    lowest, highest = min(values), max(values)
    step = _step((highest - lowest) or abs(highest) or 1.0)
    low = step * math.floor(lowest / step + 1e-9)
    return Scale(low=low, high=max(step * math.ceil(highest / step - 1e-9), low + step), step=step)


def _step(span: float) -> float:
    decade = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
    return next((times * decade for times in (1, 2, 5) if span / (times * decade) <= MOST_TICKS), 10 * decade)
