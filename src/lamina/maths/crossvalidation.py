"""Grouped cross-validation: parts of whole origins, and the folds of each round."""

from typing import Final

import pandas as pd
from pydantic import ConfigDict, Field, field_validator

from lamina.config import Config
from lamina.errors import UserError
from lamina.maths.splits import count_classes, remedy, split_origins

# the fold of rows that are not used: copies of pictures outside training, and pictures that share an origin with a
# published test set
SPARE: Final = "spare"


class AgainConfig(Config):
    """How often a run is trained again, to see how sure its scores are. Zeros: not at all.

    Attributes:
        repeats: trainings with other seeds, on the same split.
        folds: of a grouped cross-validation over all rows.
        control: whether to train once with shuffled labels or targets, where the task has some.
    """

    repeats: int = Field(default=0, ge=0, le=100)
    folds: int = Field(default=0, ge=0, le=100)
    control: bool = False

    @field_validator("folds")
    @classmethod
    def _two_or_more(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("expected 0, for no cross-validation, or 2 and more")
        return folds


class AssessConfig(AgainConfig):
    """Section `assess` of params.yaml. The name of a run or of a task may stand in it, with values of its own."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, AgainConfig]

    def of(self, run: str, task: str) -> AgainConfig:
        """Return the values for a run: its own, or else its task's, or else those of all."""
        own: dict[str, AgainConfig] = self.model_extra or {}
        return own.get(run, own.get(task, self))


def partition(origins: list[str], labels: list[str], parts: int, seed: int) -> "pd.Series[int]":
    """Assign every origin to one of `parts` parts of about the same size, stratified by class.

    Args:
        origins: (n,) origin of each picture.
        labels: (n,) class of each picture.
        parts: how many.
        seed: of the assignment.

    Returns:
        The part (0 to parts - 1) of each origin.

    Raises:
        UserError: if a part would miss a class, or would leave too little of it for training.
    """
    counts = count_classes(origins, labels)
    few = counts.groupby("label").size()
    if few.min() < parts:
        why = f"fold {few.min()} of 0 to {parts - 1} would have none of it"
        raise _too_few(str(few.idxmin()), int(few.min()), why)
    part = split_origins(origins, labels, {str(number): 1 / parts for number in range(parts)}, seed).astype(int)
    inside = pd.crosstab(counts["origin"].map(part), counts["label"]).reindex(range(parts), fill_value=0)
    for number, row in inside.iterrows():
        if row.min() == 0:
            label = str(row.idxmin())
            raise _too_few(label, int(few[label]), f"fold {number} of 0 to {parts - 1} has none of it")
        if (few - row).min() < 2:
            label = str((few - row).idxmin())
            raise _too_few(label, int(few[label]), f"outside fold {number} there is none of it for validation")
    return part


def _too_few(label: str, origins: int, why: str) -> UserError:
    come = f"class {label!r} comes" if label else "all data come"
    advice = remedy(label, "ask for fewer folds (0: none), add data of other origins")
    return UserError(f"assess.folds: {come} from {origins} origins: {why}; {advice}")


def fold_of(manifest: pd.DataFrame, part: int, validation: float, seed: int) -> pd.DataFrame:
    """Make the split manifest of one round of cross-validation.

    Args:
        manifest: `origin`, `label`, `copy`, `part`.
        part: the part to test.
        validation: share of the pictures of the other parts, in whole origins.
        seed: of the assignment.

    Returns:
        The same rows with another `fold`: originals of `part` are for test; the other origins are for training (with
        their copies) or validation (without); rows that are not used have `SPARE`.

    Raises:
        UserError: if training or validation would miss a class.
    """
    rest = manifest[(manifest["part"] != part) & (manifest["copy"] == 0)]
    shares = {"train": 1 - validation, "validation": validation}
    fold = split_origins(list(rest["origin"]), list(rest["label"]), shares, seed)
    there = pd.crosstab(rest["origin"].map(fold), rest["label"]) > 0
    for name, row in there.iterrows():
        if not row.all():
            label = str(row.idxmin())
            why = f"in fold {part} there is none of it for {name}"
            raise _too_few(label, rest.loc[rest["label"] == label, "origin"].nunique(), why)
    folds = manifest["origin"].map(fold).fillna("test")
    return manifest.assign(fold=folds.mask((folds != "train") & (manifest["copy"] > 0), SPARE))
