"""Shared by the stages `split` and `split_texts`: assign origins to folds and parts, and count them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.maths.crossvalidation import SPARE, partition
from lamina.maths.published_split import find_published_test, split_around
from lamina.maths.splits import FOLDS, SplitConfig, split_origins

MANIFEST: Final = ["id", "origin", "label", "copy", "fold", "part"]


@dataclass(frozen=True, kw_only=True)
class FoldsSummary:
    """Numbers of a split that pictures and texts have, without copies.

    Attributes:
        origins: By fold.
        classes: Pictures or texts by fold and class; empty without labels.
        joined: Pairs that show or say the same and became one origin.
        compared: Test pictures or texts that were compared with the nearest other one.
        suspicious: Those that agree by at least `suspicious_from`.
        suspicious_from: From 0 to 1.
    """

    origins: dict[str, int]
    classes: dict[str, dict[str, int]]
    joined: int
    compared: int
    suspicious: int
    suspicious_from: float

    def in_words(self, counts: Mapping[str, int], *, spare: str, joined: str, suspicious: str) -> str:
        """Describe the split in one line: the pictures or texts by fold, and what is said of those that are there."""
        folds = ", ".join(f"{fold} {counts.get(fold, 0)} of {self.origins.get(fold, 0)} origins" for fold in FOLDS)
        others = {spare: counts.get(SPARE), joined: self.joined, suspicious: self.suspicious}
        return "; ".join([f"split: {folds}", *(f"{count} {what}" for what, count in others.items() if count)])


def class_labels(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the `label` of each row, "" where it is missing."""
    labels: pd.Series[str] = rows["label"].fillna("").astype(str)
    return labels


def published_test(names: Iterable[str], config: SplitConfig) -> np.ndarray | None:
    """Return which rows, (n,) bool, belong to the published test set; None if `config` names none."""
    return None if config.test_pattern is None else find_published_test(list(names), config.test_pattern)


def assign_folds(
    rows: pd.DataFrame,
    labels: "pd.Series[str]",
    published: np.ndarray | None,
    config: SplitConfig,
    *,
    parts: int,
    seed: int,
) -> pd.DataFrame:
    """Assign whole origins to folds, and to the parts of a cross-validation.

    Args:
        rows: Column `origin`.
        labels: Of `class_labels`.
        published: Of `published_test`.
        config: Section `split`.
        parts: Of a cross-validation; 0 for none.
        seed: Of the random draws.

    Returns:
        The rows with `fold` and `part` (int8, -1 without cross-validation).

    Raises:
        UserError: If a class has fewer origins than folds or parts, or the published test set leaves it without rows
            in a fold.
    """
    origins, classes = list(rows["origin"]), list(labels)
    fold: Any
    if published is None:
        fold = rows["origin"].map(split_origins(origins, classes, config.shares, seed))
    else:
        fold = split_around(published, origins, classes, config.validation, seed)
    part = rows["origin"].map(partition(origins, classes, parts, seed)).astype(np.int8) if parts else np.int8(-1)
    return rows.assign(fold=fold, part=part)


def count_folds(rows: pd.DataFrame) -> tuple[dict[str, int], dict[str, int], dict[str, dict[str, int]]]:
    """Count rows by fold, origins by fold, and labeled rows by fold and class."""
    folds = rows.groupby("fold")
    labeled = rows[rows["label"].notna()]
    table = pd.crosstab(labeled["fold"], labeled["label"])
    classes = {
        str(fold): {str(label): int(n) for label, n in row.items()} for fold, row in table.to_dict("index").items()
    }
    return _counted(folds.size()), _counted(folds["origin"].nunique()), classes


def _counted(values: "pd.Series[int]") -> dict[str, int]:
    return {str(fold): int(count) for fold, count in values.items()}
