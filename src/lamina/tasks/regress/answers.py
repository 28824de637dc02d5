"""The number that `lamina predict` gives a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.errors import UserError
from lamina.maths.conformal import origins_needed
from lamina.results.folders import made_by
from lamina.results.record import Record
from lamina.tasks.answers import Answers
from lamina.tasks.regress.results import find_margin, in_digits
from lamina.tasks.wish import Wish


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The number of a picture, and between which two it lies with the coverage; or why there is none."""

    path: str
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    error: str | None = None


class NumberAnswers(Answers):
    """Gives the outputs of a run's model the margin that its evaluation measured."""

    prediction = Prediction

    def __init__(self, folder: Path, record: Record) -> None:
        found, stage = find_margin(folder, record.key), made_by(folder, "evaluate")
        self._margin = found.value if found else None
        self._deviation = float(record.data.get("target_deviation", 0.0))
        self.notes = []
        if found is None:
            self.notes = [f"not evaluated since the training: no margins; run `dvc repro {stage}`"]
        elif found.value is None:
            needed = origins_needed(found.coverage)
            self.notes = [f"no margins: {found.coverage:.0%} need {needed} origins in the validation fold"]

    def given(self, outputs: np.ndarray, distance: np.ndarray | None) -> list[dict[str, Any]]:
        """Return `predicted`, and `low` and `high` where they are known. outputs: (n, 1)."""
        values, margin = map(float, outputs[:, 0]), self._margin
        if margin is None:
            return [{"predicted": value} for value in values]
        return [{"predicted": value, "low": value - margin, "high": value + margin} for value in values]

    def cells(self, one: Prediction) -> dict[str, object]:
        """Return `path`, `predicted`, `low`, `high` and `error`."""
        return dict(vars(one))

    def in_words(self, one: Prediction) -> str:
        spread = self._margin or self._deviation
        predicted, *ends = (
            in_digits(value, spread) for value in (one.predicted, one.low, one.high) if value is not None
        )
        return "  ".join([predicted, *([" to ".join(ends)] if ends else [])])


def open_answers(folder: Path, record: Record, wish: Wish) -> NumberAnswers:
    """Open what turns a run's outputs into numbers; raises UserError for a wish that only classifiers meet."""
    if not wish.is_plain:
        raise UserError(
            f"{record.run}: it predicts a number; --coverage, --by-class, --recall and --cost are for classes"
        )
    return NumberAnswers(folder, record)
