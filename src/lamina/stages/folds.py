"""Shared by the stages `split` and `split_texts`: assign origins to folds and parts, and count them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.given_test import column_of, given_test, read_metadata
from lamina.inputs.targets import find_separator, write_targets
from lamina.maths.crossvalidation import SPARE, partition
from lamina.maths.published_split import Flags, split_around
from lamina.maths.quarters import cut_numbers
from lamina.maths.splits import FOLDS, UNKNOWN, SplitConfig, split_origins
from lamina.tasks.registry import TASKS

RAW: Final = Path("data/raw")
OTHERS: Final = "others"  # values of a column that few origins have
METADATA: Final = "metadata.parquet"  # in data/split
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


def strata(
    rows: pd.DataFrame,
    config: SplitConfig,
    metadata: pd.DataFrame | None,
    published: Flags | None = None,
    *,
    fewest: int = len(FOLDS),
) -> "pd.Series[str]":
    """Return what the folds of a split are to have equal shares of: the label, and the value of `split.stratify`.

    Columns of many numbers are cut at their quartiles (`cut_numbers`). Of those, and of columns whose cells list
    labels, the values that cannot be in all folds of a class are one.

    Args:
        rows: `name`, `origin`, `label`.
        config: Section `split`.
        metadata: Of `read_metadata`.
        published: As of `assign_folds`.
        fewest: Origins that a value needs.
    """
    labels = class_labels(rows)
    if config.stratify is None:
        return labels
    column = column_of(metadata, config.stratify, "split.stratify").reindex(rows["name"]).set_axis(rows.index)
    cut = cut_numbers(column)
    values = column.fillna(UNKNOWN) if cut is None else cut.astype(str)
    if cut is not None or find_separator(column.dropna()):
        common = values.groupby(labels).transform(lambda own: own.mode()[0])
        for joined in (pd.Series(OTHERS, values.index), common):  # where even all of them together are too few
            few = _too_few([labels, values], rows["origin"], published, fewest)
            values = values.mask(few, joined)
    return labels + f" of {config.stratify} " + values


def _too_few(
    keys: Sequence["pd.Series[str]"], origins: "pd.Series[str]", published: Flags | None, fewest: int
) -> "pd.Series[bool]":
    """Whether the group of each row has too few origins for all folds, or for those around a given test set."""
    few: pd.Series[bool] = origins.groupby(list(keys)).transform("nunique") < fewest
    if published is None:
        return few
    is_test = pd.Series(published, origins.index)
    rest = origins.mask(is_test.groupby(origins).transform("any"))
    untested = ~is_test.groupby(list(keys)).transform("any")
    return few | untested | (rest.groupby(list(keys)).transform("nunique") < len(FOLDS) - 1)


def wanted_folds(rows: pd.DataFrame, config: SplitConfig, raw: Path) -> tuple[Flags | None, pd.DataFrame | None]:
    """Return the flags of `given_test` for rows, and the metadata, before anything that takes long.

    Raises:
        UserError: If `config` names pictures or a column that are not there.
    """
    metadata = read_metadata(raw)
    if config.stratify is not None:
        column_of(metadata, config.stratify, "split.stratify")
    find_test = given_test(config, metadata)
    return find_test and find_test(list(rows["name"])), metadata


def write_metadata(metadata: pd.DataFrame | None, rows: pd.DataFrame, folder: Path) -> None:
    """Write `id` and the columns of the metadata for each row (`id`, `name`), if there are metadata."""
    if metadata is not None:
        found = metadata.reindex(rows["name"]).reset_index(drop=True)
        found.insert(0, "id", rows["id"].to_numpy())
        found.to_parquet(folder / METADATA, index=False)


def assign_folds(
    rows: pd.DataFrame,
    metadata: pd.DataFrame | None,
    published: Flags | None,
    config: SplitConfig,
    *,
    parts: int,
    seed: int,
) -> pd.DataFrame:
    """Assign whole origins to folds, and to the parts of a cross-validation.

    Args:
        rows: `name`, `origin`, `label`.
        metadata: Of `read_metadata`.
        published: Whether each row is of the given test set; None if that is drawn.
        config: Section `split`.
        parts: Of a cross-validation; 0 for none.
        seed: Of the random draws.

    Returns:
        The rows with `fold` and `part` (int8, -1 without cross-validation).

    Raises:
        UserError: If a class has fewer origins than folds or parts, or the published test set leaves it without rows
            in a fold.
    """
    classes = list(strata(rows, config, metadata, published, fewest=max(parts, len(FOLDS))))
    origins = list(rows["origin"])
    fold: Any
    if published is None:
        fold = rows["origin"].map(split_origins(origins, classes, config.shares, seed))
    else:
        key = "split.hold_out" if config.hold_out else "split.test_pattern"
        fold = split_around(published, origins, classes, config.validation, seed, key=key)
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


def split_targets(split: Path, out: Path) -> None:
    """Write the targets of every task to `out`; see `lamina.inputs.targets`."""
    metadata = pd.read_parquet(split / METADATA) if (split / METADATA).exists() else None
    ids = sorted(set(pd.read_parquet(split / "manifest.parquet", columns=["id"])["id"]))
    write_targets(out, metadata, ids, {task.name: task.uses_metadata for task in TASKS.values()})
