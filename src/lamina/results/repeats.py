"""A run trained again: with other seeds, on other folds, or with shuffled labels.

Each training keeps its judged rows in a cache. An interrupted assessment continues with the missing trainings; the
rest is computed from the judged rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import discard, json_digest, staged
from lamina.inputs.index import read_split
from lamina.maths.control import chance_test, shuffle_labels, units
from lamina.maths.crossvalidation import AgainConfig, fold_of, partition
from lamina.results.assessment import Assessment, Control, CrossValidation, FoldValue, Repeats, Spread
from lamina.training.checkpoint import Checkpoint
from lamina.training.environment import environment
from lamina.training.learner import Learner
from lamina.training.settings import Hyperparameters, RunSettings
from lamina.training.training_options import TrainingOptions

JUDGED: Final = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One more training of a run: its name, its seed, and the split with its own folds or labels."""

    name: str
    seed: int
    manifest: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Retrainer:
    """Trains a run again.

    Attributes:
        name, settings, numbers: of the run; measure: a column of its scores.
        code: digest of the code that decides the training.
        open_learner: opens the learner of a training.
        cache: folder, outside of what DVC removes, for judged rows.
    """

    name: str
    settings: RunSettings
    numbers: Hyperparameters
    measure: str
    code: str
    open_learner: Callable[[Training], Learner]
    cache: Path

    def judged(self, training: Training) -> pd.DataFrame:
        """Train, and judge the rows of validation and test.

        Returns:
            `id`, `origin`, `fold` and what the task's learner judges by, sorted by id.
        """
        learner = self.open_learner(training)
        path = self.cache / f"{self.name}-{self._key(training, learner.digest)[:16]}.parquet"
        if not path.exists():
            table = self._train(learner, training, path.with_suffix(".npz"))
            with staged(path) as part:
                table.sort_values("id", ignore_index=True).to_parquet(part, index=False)
        return pd.read_parquet(path)

    def value(self, learner: Learner, judged: pd.DataFrame) -> float:
        """Return the measure over judged rows."""
        return float(learner.summarise(judged)[self.measure])

    def _train(self, learner: Learner, training: Training, checkpoint: Path) -> pd.DataFrame:
        options = TrainingOptions(what=f"{self.name}: {training.name}", checkpoint=Checkpoint(checkpoint))
        learned = learner.learn_again(self.numbers, options)
        tables = []
        for fold in JUDGED:
            rows = training.manifest.loc[training.manifest["fold"] == fold, ["id", "origin", "fold"]]
            tables.append(rows.reset_index(drop=True).join(learner.judge(learned, fold)))
        discard(checkpoint)
        return pd.concat(tables, ignore_index=True)

    def _key(self, training: Training, data: str) -> str:
        rows = pd.util.hash_pandas_object(training.manifest[["fold", "label"]], index=False).to_numpy()
        own = [self.name, self.settings.decides(), self.numbers.model_dump(), training.seed]
        return json_digest([*own, data, rows.tolist(), self.code, environment()])


def assess(
    retrainer: Retrainer, folders: Folders, config: AgainConfig, *, validation: float, split_seed: int, seed: int
) -> tuple[Assessment, pd.DataFrame]:
    """Train a run again in every way that the config asks for.

    Args:
        retrainer: of the run.
        folders: where the data lie.
        config: which trainings.
        validation: share of the pictures that validate in each round of a cross-validation.
        split_seed: of the parts and of the pictures that validate: the same for every run.
        seed: of the run.

    Returns:
        What was found, and the judged rows of the cross-validation (without rows where there was none).
    """
    crossed, judged = None, pd.DataFrame(columns=["id", "origin", "fold"])
    if not (config.repeats or config.folds or config.control):
        return Assessment(), judged  # without loading what trains
    split = read_split(folders)
    learner = retrainer.open_learner(Training(name="as trained", seed=seed, manifest=split))
    if config.folds:
        rows = crossvalidation_rows(folders, split, config.folds, stratify=learner.tests_labels, seed=split_seed)
        crossed, judged = cross_validate(
            retrainer, learner, rows, config.folds, validation=validation, split_seed=split_seed, seed=seed
        )
    repeats = config.repeats if learner.is_random else 0  # the same model again would look like certainty
    found = Assessment(
        repeats=repeat(retrainer, learner, split, repeats, seed=seed) if repeats else None,
        crossvalidation=crossed,
        control=control(retrainer, split, seed=seed) if config.control and learner.tests_labels else None,
    )
    return found, judged


def repeat(retrainer: Retrainer, learner: Learner, split: pd.DataFrame, count: int, *, seed: int) -> Repeats:
    """Train `count` times with the seeds after `seed`, on the same split.

    The run's own seed is left out: tuning chose the numbers that suit it. Over a frozen backbone the head alone is
    trained again, and what it fine-tunes.
    """
    seeds = [seed + number for number in range(1, count + 1)]
    found: dict[str, list[float]] = {fold: [] for fold in JUDGED}
    for number, other in enumerate(seeds, start=1):
        judged = retrainer.judged(Training(name=f"repeat {number} of {count}", seed=other, manifest=split))
        for fold, rows in judged.groupby("fold"):
            found[str(fold)].append(retrainer.value(learner, rows))
    return Repeats(seeds=seeds, **{fold: _spread(values) for fold, values in found.items()})


def control(retrainer: Retrainer, split: pd.DataFrame, *, seed: int) -> Control:
    """Train with labels shuffled in all folds. What then predicts better than chance has seen its test rows."""
    shuffled = shuffle_labels(split, seed)
    judged = retrainer.judged(Training(name="control with shuffled labels", seed=seed, manifest=shuffled))
    unit = pd.Series(units(split), index=split["id"]).groupby(level=0).first()
    test = judged[judged["fold"] == "test"]
    found = chance_test(test["label"], test["predicted"], unit.loc[test["id"]], seed=seed)
    return Control(**found, n=len(test))


def crossvalidation_rows(
    folders: Folders, split: pd.DataFrame, folds: int, *, stratify: bool, seed: int
) -> pd.DataFrame:
    """Return all rows with their planned copies, and the `part` of the cross-validation that tests each.

    With labels the parts are those of the split, stratified by class. Without, whole origins are assigned here: a class
    that is too rare for the parts is no obstacle then.

    Raises:
        UserError: if the split has other parts, or there are too few origins.
    """
    if stratify:
        if set(split["part"]) != set(range(folds)):
            raise UserError(f"data/split/manifest.parquet: not split into {folds} folds; run `dvc repro split`")
        return split
    rows = pd.read_parquet(folders.augmented / "plan.parquet", columns=["id", "copy"])
    originals = split[split["copy"] == 0]
    part = partition(list(originals["origin"]), [""] * len(originals), folds, seed)
    origin = rows["id"].map(originals.set_index("id")["origin"])
    return rows.assign(origin=origin, label="", part=origin.map(part))


def cross_validate(
    retrainer: Retrainer,
    learner: Learner,
    rows: pd.DataFrame,
    folds: int,
    *,
    validation: float,
    split_seed: int,
    seed: int,
) -> tuple[CrossValidation, pd.DataFrame]:
    """Train once for each part, on the others, and test on it: every row is tested once.

    The numbers were tuned on the main split, whose validation rows are tested here too: where anything was tuned, the
    result is a little too good.

    Returns:
        The scores, and the judged rows, sorted by id; `fold` is the part.
    """
    tables = []
    for part in range(folds):
        manifest = fold_of(rows, part, validation, split_seed)
        judged = retrainer.judged(Training(name=f"fold {part + 1} of {folds}", seed=seed, manifest=manifest))
        tables.append(judged[judged["fold"] == "test"].assign(fold=np.int8(part)))
    judged = pd.concat(tables).sort_values("id", ignore_index=True)
    values = [
        FoldValue(value=retrainer.value(learner, rows_of_fold), n=len(rows_of_fold))
        for _, rows_of_fold in judged.groupby("fold")
    ]
    starts_from_file = retrainer.settings.starts_from_file
    scores = learner.summarise(judged)
    return CrossValidation(scores=scores, folds=values, starts_from_file=starts_from_file), judged


def _spread(values: list[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(values=values, mean=float(np.mean(values)), deviation=deviation)
