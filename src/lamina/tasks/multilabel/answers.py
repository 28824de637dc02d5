"""The labels that `lamina predict` gives a picture."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.errors import UserError
from lamina.maths.label_scores import DEFAULT
from lamina.results.folders import made_by
from lamina.results.record import Record
from lamina.tasks.answers import Answers
from lamina.tasks.columns import probability
from lamina.tasks.multilabel.results import find_thresholds, joined_labels
from lamina.tasks.wish import Wish
from lamina.text import printable


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The labels of a picture and the probability of each; or why there is none."""

    path: str
    predicted: list[str] | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str | None = None


class LabelAnswers(Answers):
    """Turns the probabilities of a run's model into labels, by the thresholds that its evaluation found."""

    prediction = Prediction

    def __init__(self, folder: Path, record: Record) -> None:
        self.names = record.classes
        found = find_thresholds(folder, record.key)
        by_label = found.thresholds if found else {}
        self._thresholds = np.array([by_label.get(name, DEFAULT) for name in self.names])
        stage = made_by(folder, "evaluate")
        self.notes = (
            [] if found else [f"not evaluated since the training: every threshold is 0.5; run `dvc repro {stage}`"]
        )

    def given(self, outputs: np.ndarray, distance: np.ndarray | None) -> list[dict[str, Any]]:
        """Return `predicted` and `probabilities` of each row. outputs: (n, labels)."""
        return [
            {
                "predicted": [name for name, has in zip(self.names, row >= self._thresholds, strict=True) if has],
                "probabilities": dict(zip(self.names, map(float, row), strict=True)),
            }
            for row in outputs
        ]

    def cells(self, one: Prediction) -> dict[str, object]:
        """Return `path`, `predicted` (labels separated by `|`), `p:LABEL` of each label, and `error`."""
        held = np.array([[name in (one.predicted or ()) for name in self.names]])
        given = None if one.predicted is None else joined_labels(held, self.names)[0]
        shares = {probability(name): one.probabilities.get(name) for name in self.names}
        return {"path": one.path, "predicted": given, **shares, "error": one.error}

    def in_words(self, one: Prediction) -> str:
        shown = [printable(name) for name in one.predicted or ()] or ["no label"]
        ordered = sorted(one.probabilities.items(), key=lambda item: -item[1])
        return "  ".join([", ".join(shown), *(f"{printable(name)} {share:.3f}" for name, share in ordered)])


def open_answers(folder: Path, record: Record, wish: Wish) -> LabelAnswers:
    """Open what turns a run's outputs into labels; raises UserError for a wish that only classifiers meet."""
    if not wish.is_plain:
        raise UserError(f"{record.run}: it gives labels; --coverage, --by-class, --recall and --cost are for classes")
    return LabelAnswers(folder, record)
