"""A run trained again: with other seeds, on other folds, or with shuffled labels or targets.

Each training keeps its judged rows in a cache. An interrupted assessment continues with the missing trainings; the
rest is computed from the judged rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lamina.errors import UserError
from lamina.files import discard, json_digest, staged
from lamina.maths.control import chance_test, shuffle_labels, units
from lamina.maths.crossvalidation import AgainConfig, fold_of, partition
from lamina.results.assessment import Assessment, Control, CrossValidation, FoldValue, Repeats, Spread, TargetControl
from lamina.training.checkpoint import Checkpoint
from lamina.training.environment import environment
from lamina.training.learner import Learner, Setup, TrainingOptions
from lamina.training.settings import Hyperparameters

JUDGED: Final = ("validation", "test")
NOT_JUDGED: Final = pd.DataFrame(columns=["id", "origin", "fold"])


@dataclass(frozen=True, kw_only=True)
class Retrainer:
    """Trains a run again.

    Attributes:
        name, setup, numbers: of the run; measure: a column of its scores.
        code: digest of the code that decides the training.
        open_learner: opens the learner of a training.
        cache: folder, outside of what DVC removes, for judged rows.
        control: the control of a task that has its own; None: with shuffled labels, if the learner has classes.
    """

    name: str
    setup: Setup
    numbers: Hyperparameters
    measure: str
    code: str
    open_learner: Callable[[Setup], Learner]
    cache: Path
    control: "Callable[[Retrainer], TargetControl] | None" = None

    @cached_property
    def learner(self) -> Learner:
        """The learner of the run as it was trained."""
        return self.open_learner(self.setup)

    def judged(self, what: str, setup: Setup) -> pd.DataFrame:
        """Train with another seed, other folds or other labels, and judge the rows of validation and test.

        Args:
            what: name of the training.
            setup: of the training.

        Returns:
            `id`, `origin`, `fold` and what the task's learner judges by, sorted by id.

        Raises:
            UserError: If this training cannot be learned from its rows; names the training.
        """
        try:
            learner = self.open_learner(setup)
        except UserError as error:
            raise UserError(f"{self.name}, {what}: {error}") from None
        path = self.cache / f"{self.name}-{self._key(learner)[:16]}.parquet"
        if not path.exists():
            table = self._train(learner, what, path.with_suffix(".npz"))
            with staged(path) as part:
                table.sort_values("id", ignore_index=True).to_parquet(part, index=False)
        return pd.read_parquet(path)

    def value(self, judged: pd.DataFrame) -> float:
        """Return the measure over judged rows."""
        return float(self.learner.summarise(judged)[self.measure])

    def _train(self, learner: Learner, what: str, checkpoint: Path) -> pd.DataFrame:
        options = TrainingOptions(what=f"{self.name}: {what}", checkpoint=Checkpoint(checkpoint))
        learned = learner.learn_again(self.numbers, options)
        tables = []
        for fold in JUDGED:
            rows = learner.manifest.loc[learner.manifest["fold"] == fold, ["id", "origin", "fold"]]
            tables.append(rows.reset_index(drop=True).join(learner.judge(learned, fold)))
        discard(checkpoint)
        return pd.concat(tables, ignore_index=True)

    def _key(self, learner: Learner) -> str:
        rows = pd.util.hash_pandas_object(learner.manifest[["fold", "label"]], index=False).to_numpy()
        own = [self.name, learner.settings.decides(), self.numbers.model_dump(), learner.seed]
        return json_digest([*own, learner.digest, rows.tolist(), self.code, environment()])


def assess(
    retrainer: Retrainer, config: AgainConfig, *, validation: float, split_seed: int
) -> tuple[Assessment, pd.DataFrame]:
    """Train a run again in every way that the config asks for.

    Args:
        retrainer: of the run.
        config: which trainings.
        validation: share of the pictures that validate in each round of a cross-validation.
        split_seed: of the parts and of the pictures that validate: the same for every run.

    Returns:
        What was found, and the judged rows of the cross-validation (without rows where there was none).
    """
    learner, crossed, judged = retrainer.learner, None, NOT_JUDGED
    if config.folds:
        rows = crossvalidation_rows(retrainer.setup, config.folds, of_split=learner.uses_parts, seed=split_seed)
        crossed, judged = cross_validate(retrainer, rows, config.folds, validation=validation, split_seed=split_seed)
    repeats = config.repeats if learner.is_random else 0  # the same model again would look like certainty
    found = Assessment(
        repeats=repeat(retrainer, repeats) if repeats else None,
        crossvalidation=crossed,
        control=control(retrainer) if config.control else None,
    )
    return found, judged


def repeat(retrainer: Retrainer, count: int) -> Repeats:
    """Train `count` times with the seeds after the run's own, on the same split.

    The run's own seed is left out: tuning chose the numbers that suit it. Over a frozen backbone the head alone is
    trained again, and what it fine-tunes.
    """
    seeds = [retrainer.setup.seed + number for number in range(1, count + 1)]
    found: dict[str, list[float]] = {fold: [] for fold in JUDGED}
    for number, seed in enumerate(seeds, start=1):
        judged = retrainer.judged(f"repeat {number} of {count}", replace(retrainer.setup, seed=seed))
        for fold, rows in judged.groupby("fold"):
            found[str(fold)].append(retrainer.value(rows))
    return Repeats(seeds=seeds, **{fold: _spread(values) for fold, values in found.items()})


def control(retrainer: Retrainer) -> Control | TargetControl | None:
    """Train with shuffled true answers. What then predicts better than chance has seen its test rows.

    Returns:
        None where the task has neither classes nor targets to shuffle.
    """
    if retrainer.control:
        return retrainer.control(retrainer)
    return control_of_labels(retrainer) if retrainer.learner.tests_labels else None


def control_of_labels(retrainer: Retrainer) -> Control:
    """Train with labels shuffled in all folds, and test them."""
    split, seed = retrainer.setup.manifest, retrainer.setup.seed
    shuffled = replace(retrainer.setup, manifest=shuffle_labels(split, seed))
    judged = retrainer.judged("control with shuffled labels", shuffled)
    unit = pd.Series(units(split), index=split["id"]).groupby(level=0).first()
    test = judged[judged["fold"] == "test"]
    found = chance_test(test["label"], test["predicted"], unit.loc[test["id"]], seed=seed)
    return Control(**found, n=len(test))


def crossvalidation_rows(setup: Setup, folds: int, *, of_split: bool, seed: int) -> pd.DataFrame:
    """Return all rows with their planned copies, and the `part` of the cross-validation that tests each.

    The parts are those of the split, stratified by class. Where classes do not matter, whole origins are assigned here:
    a class that is too rare for the parts is no obstacle then.

    Raises:
        UserError: if the split has other parts, or there are too few origins.
    """
    split = setup.manifest
    if of_split:
        if set(split["part"]) != set(range(folds)):
            raise UserError(f"data/split/manifest.parquet: not split into {folds} folds; run `dvc repro split`")
        return split.assign(label="") if split["label"].isna().all() else split
    rows = pd.read_parquet(setup.folders.augmented / "plan.parquet", columns=["id", "copy"])
    originals = split[split["copy"] == 0]
    part = partition(list(originals["origin"]), [""] * len(originals), folds, seed)
    origin = rows["id"].map(originals.set_index("id")["origin"])
    return rows.assign(origin=origin, label="", part=origin.map(part))


def cross_validate(
    retrainer: Retrainer, rows: pd.DataFrame, folds: int, *, validation: float, split_seed: int
) -> tuple[CrossValidation, pd.DataFrame]:
    """Train once for each part, on the others, and test on it: every row is tested once.

    The numbers were tuned on the main split, whose validation rows are tested here too: where anything was tuned, the
    result is a little too good.

    Returns:
        The scores, and the judged rows, sorted by id; `fold` is the part.
    """
    tables = []
    for part in range(folds):
        setup = replace(retrainer.setup, manifest=fold_of(rows, part, validation, split_seed))
        judged = retrainer.judged(f"fold {part + 1} of {folds}", setup)
        tables.append(judged[judged["fold"] == "test"].assign(fold=np.int8(part)))
    judged = pd.concat(tables).sort_values("id", ignore_index=True)
    found = CrossValidation(
        scores=retrainer.learner.summarise(judged),
        folds=[FoldValue(value=retrainer.value(tested), n=len(tested)) for _, tested in judged.groupby("fold")],
        starts_from_file=retrainer.setup.settings.starts_from_file,
    )
    return found, judged


def _spread(values: list[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(values=values, mean=float(np.mean(values)), deviation=deviation)
