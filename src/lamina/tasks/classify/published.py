"""What a publication may report of a classifier, and our values of it."""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from lamina.maths.scores import accuracy_interval
from lamina.results.published import Quantity
from lamina.tasks.classify.results import ClassScores

QUANTITIES: Final[Mapping[str, Quantity]] = {
    "accuracy": Quantity(high=1.0, share=True),
    "macro_f1": Quantity(title="macro F1", high=1.0, share=True),
    "precision": Quantity(high=1.0, share=True, by_class=True),
    "recall": Quantity(high=1.0, share=True, by_class=True),
    "f1": Quantity(title="F1", high=1.0, share=True, by_class=True),
}


def measured(
    scores: ClassScores, rows: pd.DataFrame, measure: str, label: str | None
) -> tuple[float, tuple[float, float] | None] | None:
    """Return the value of a measure and its interval; see `lamina.tasks.published.measured`.

    Macro F1 has no interval. A class without a row that counts for the measure has no value.
    """
    if label is None:
        return float(getattr(scores, measure)), scores.interval if measure == scores.measure else None
    interval = class_interval(rows, measure, label)
    return (float(getattr(scores.per_class[label], measure)), interval) if interval else None


def class_interval(rows: pd.DataFrame, measure: str, label: str) -> tuple[float, float] | None:
    """Compute the 95 % interval of the precision, recall or F1 of a class, over origins.

    Precision and recall are shares of correct predictions, so that `accuracy_interval` holds for them: of the rows that
    are predicted as the class, and of the rows that have it. F1 is 2 J / (1 + J), where J is such a share of the rows
    that have the class or are predicted as it (the Jaccard index); the ends of its interval follow from those of J.

    Args:
        rows: `origin`, `label`, `predicted`.
        measure: `precision`, `recall` or `f1`.
        label: the class.

    Returns:
        (low, high) within [0, 1]; None if no row counts.
    """
    true, predicted = rows["label"] == label, rows["predicted"] == label
    counted = {"precision": predicted, "recall": true, "f1": true | predicted}[measure]
    if not counted.any():
        return None
    low, high = accuracy_interval((true & predicted)[counted], rows.loc[counted, "origin"])
    return (2 * low / (1 + low), 2 * high / (1 + high)) if measure == "f1" else (low, high)
