"""A run trained again, with other seeds or on other folds: each training leaves its answers in a memo.

One that was interrupted goes on with the trainings that are missing. Everything else is counted from the answers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.files import json_digest, staged
from lamina.results.record import code_digest, environment
from lamina.tasks.runs import Run, Tuned
from lamina.training.learner import Task

JUDGED: Final = ("validation", "test")

T = TypeVar("T", bound=Task)
R = TypeVar("R", bound=Run)


@dataclass(frozen=True, kw_only=True)
class Training:
    """One more training of a run: what it is called, its seed, and the split with its own folds or labels."""

    name: str
    seed: int
    manifest: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Assessor(ABC, Generic[R, T]):
    """Trains a run again.

    memo: folder, outside of what DVC removes, where answers are kept. augment: the section, for runs of
    `augmentation: fresh`. values: what several of its `value` are called.
    """

    values: ClassVar[str]

    name: str
    run: R
    tuned: Tuned
    folders: Folders
    memo: Path
    augment: AugmentConfig | None = None

    def answers(self, training: Training) -> pd.DataFrame:
        """What the network of one training says of the rows of the folds validation and test.

        Returns `id`, `origin`, `fold` and the columns that `train` adds, sorted by id.
        """
        task = self.task(training)
        path = self.memo / f"{self.name}-{self._key(training, task.digest)[:16]}.parquet"
        if not path.exists():
            answers = self.train(task, training, path.with_suffix(".npz")).sort_values("id", ignore_index=True)
            with staged(path) as part:
                answers.to_parquet(part, index=False)
        return pd.read_parquet(path)

    @abstractmethod
    def task(self, training: Training) -> T:
        """What one training learns."""

    @abstractmethod
    def train(self, task: T, training: Training, underway: Path) -> pd.DataFrame:
        """Train, and ask for the rows of `JUDGED`; underway: file to go on from, which is gone in the end."""

    @abstractmethod
    def value(self, answers: pd.DataFrame) -> float:
        """The measure over some answers."""

    def _key(self, training: Training, data: str) -> str:
        rows = pd.util.hash_pandas_object(training.manifest[["fold", "label"]], index=False).to_numpy()
        own = [self.name, self.run.model_dump(), self.tuned.model_dump(), training.seed]
        return json_digest([*own, data, rows.tolist(), code_digest(), environment()])


def repeats(assessor: Assessor[Any, Any], manifest: pd.DataFrame, count: int, *, seed: int) -> dict[str, Any]:
    """Train `count` times with the seeds after `seed`, on the same split.

    Returns `seeds`, and under `test` and `validation` the values of the measure (`accuracies` or `mse`), their `mean`,
    and `deviation` (the standard deviation of one training, from count - 1; None for one). The run's own seed is left
    out: tuning chose the numbers that suit it. Of a run over a frozen backbone the head alone is trained again, and
    what it fine-tunes.
    """
    seeds = [seed + number for number in range(1, count + 1)]
    found: dict[str, list[float]] = {fold: [] for fold in JUDGED}
    for number, other in enumerate(seeds, start=1):
        answers = assessor.answers(Training(name=f"repeat {number} of {count}", seed=other, manifest=manifest))
        for fold, rows in answers.groupby("fold"):
            found[str(fold)].append(assessor.value(rows))
    return {"seeds": seeds} | {fold: _spread(values, assessor.values) for fold, values in found.items()}


def _spread(values: list[float], called: str) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {called: values, "mean": float(np.mean(values)), "deviation": deviation}


def tested_once(assessor: Assessor[Any, Any], rounds: list[pd.DataFrame], *, seed: int) -> pd.DataFrame:
    """Train once for each round of cross-validation: the answers for what it tests, `fold` being the round (from 0).

    rounds: manifests with the folds of each. Returns the rows of all, sorted by id.
    """
    count, tables = len(rounds), []
    for number, manifest in enumerate(rounds):
        answers = assessor.answers(Training(name=f"fold {number + 1} of {count}", seed=seed, manifest=manifest))
        tables.append(answers[answers["fold"] == "test"].assign(fold=np.int8(number)))
    return pd.concat(tables).sort_values("id", ignore_index=True)


def per_fold(assessor: Assessor[Any, Any], answers: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The measure of each round, and `n`, its pictures."""
    for _, rows in answers.groupby("fold"):
        yield {assessor.run.measure: assessor.value(rows), "n": len(rows)}
