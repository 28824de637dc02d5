"""How sure the numbers of a run are: the run trained again, with other seeds, other folds, or nothing to learn.

Every training answers for pictures that it did not learn from, and leaves these answers in a memo: one that was
interrupted goes on with the trainings that are missing. Everything else is counted from the answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import json_digest, staged
from lamina.learn.course import Course
from lamina.learn.record import code_digest, environment
from lamina.learn.runs import Run, TransferRun, Tuned
from lamina.learn.tasks import ClassTask, class_task
from lamina.maths.control import chance_test, deal_labels, units
from lamina.maths.crossvalidation import AssessConfig, fold_of
from lamina.maths.scores import score

JUDGED: Final = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One more training of a run: what it is called, its seed, and the split with its own folds or labels."""

    name: str
    seed: int
    manifest: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Assessor:
    """Trains a run again.

    memo: folder, outside of what DVC removes, where answers are kept. augment: the section, for runs of
    `augmentation: fresh`.
    """

    name: str
    run: Run
    tuned: Tuned
    folders: Folders
    memo: Path
    augment: AugmentConfig | None = None

    @property
    def fine_tunes(self) -> bool:
        """Whether more than a head learns over a frozen backbone."""
        return isinstance(self.run, TransferRun) and self.run.fine_tune is not None

    def answers(self, training: Training) -> pd.DataFrame:
        """What the network of one training says of the rows of the folds validation and test.

        Returns `id`, `origin`, `label`, `fold`, `predicted`, and a column of probabilities per class, sorted by id.
        """
        task = class_task(
            self.name,
            self.run,
            self.folders,
            seed=training.seed,
            manifest=training.manifest,
            augment=self.augment,
        )
        path = self.memo / f"{self.name}-{self._key(training, task.digest)[:16]}.parquet"
        if not path.exists():
            answers = self._train(task, training)
            with staged(path) as part:
                answers.to_parquet(part, index=False)
        return pd.read_parquet(path)

    def _key(self, training: Training, data: str) -> str:
        rows = pd.util.hash_pandas_object(training.manifest[["fold", "label"]], index=False).to_numpy()
        own = [self.name, self.run.model_dump(), self.tuned.model_dump(), training.seed]
        return json_digest([*own, data, rows.tolist(), code_digest(), environment()])

    def _train(self, task: ClassTask, training: Training) -> pd.DataFrame:
        course = Course(what=f"{self.name}: {training.name}")
        if self.fine_tunes:
            from lamina.learn.fine_tuning import learn_whole

            learned, examples = learn_whole(task, self.tuned, course), task.pictures
        else:
            learned, examples = task.learn(self.tuned, course), task.examples
        manifest, tables = training.manifest, []
        for fold in JUDGED:
            rows = manifest.loc[manifest["fold"] == fold, ["id", "origin", "label", "fold"]].reset_index(drop=True)
            tables.append(rows.join(pd.DataFrame(learned.answers(examples(fold)), columns=task.classes)))
        table = pd.concat(tables, ignore_index=True)
        best = table[task.classes].to_numpy().argmax(axis=1)
        table.insert(4, "predicted", np.array(task.classes, dtype=object)[best])
        return table.sort_values("id", ignore_index=True)


def repeats(assessor: Assessor, manifest: pd.DataFrame, count: int, *, seed: int) -> dict[str, Any]:
    """Train `count` times with the seeds after `seed`, on the same split.

    Returns `seeds`, and under `test` and `validation` `accuracies`, their `mean`, and `deviation` (the standard
    deviation of one training, from count - 1; None for one). The run's own seed is left out: tuning chose the numbers
    that suit it. Of a run over a frozen backbone the head alone is trained again, and what it fine-tunes.
    """
    seeds = [seed + number for number in range(1, count + 1)]
    found: dict[str, list[float]] = {fold: [] for fold in JUDGED}
    for number, other in enumerate(seeds, start=1):
        answers = assessor.answers(Training(name=f"repeat {number} of {count}", seed=other, manifest=manifest))
        for fold, rows in answers.groupby("fold"):
            found[str(fold)].append(float((rows["label"] == rows["predicted"]).mean()))
    return {"seeds": seeds} | {fold: _spread(accuracies) for fold, accuracies in found.items()}


def _spread(values: list[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"accuracies": values, "mean": float(np.mean(values)), "deviation": deviation}


def control(assessor: Assessor, manifest: pd.DataFrame, *, seed: int) -> dict[str, Any]:
    """Train with labels dealt at random, of all folds: what answers better than chance has seen what it was asked.

    Returns what `lamina.maths.control.chance_test` says of the test pictures, and `n`, their number.
    """
    dealt = deal_labels(manifest, seed)
    answers = assessor.answers(Training(name="control with dealt labels", seed=seed, manifest=dealt))
    unit = pd.Series(units(manifest), index=manifest["id"]).groupby(level=0).first()
    test = answers[answers["fold"] == "test"]
    found = chance_test(test["label"], test["predicted"], unit.loc[test["id"]], seed=seed)
    return found | {"n": len(test)}


def cross_validate(
    assessor: Assessor, manifest: pd.DataFrame, folds: int, *, validation: float, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train once for each part of the split manifest, on the others, and test on it: every picture is tested once.

    Returns the scores of all answers together (as `lamina.maths.scores.score`; the interval, over origins, does not
    know that the trainings share most of their pictures), with `folds`, the `accuracy` and `n` of each, and
    `confusion`, pictures by label and predicted class; and the answers, `fold` being the part.
    The numbers that it trains with were tuned on the main split, whose validation pictures are tested here too: where
    anything was tuned, this accuracy is a little too good. Raises UserError where the split has other parts.
    """
    if set(manifest["part"]) != set(range(folds)):
        raise UserError(
            f"data/split/manifest.parquet: has not the {folds} parts of assess.folds; run `dvc repro split`"
        )
    rounds = [
        Training(name=f"fold {part + 1} of {folds}", seed=seed, manifest=fold_of(manifest, part, validation, seed))
        for part in range(folds)
    ]
    answers = pd.concat([_tested(assessor.answers(training), part) for part, training in enumerate(rounds)])
    answers = answers.sort_values("id", ignore_index=True)
    classes = [str(column) for column in answers.columns[5:]]
    scores = score(answers["label"], answers["predicted"], answers["origin"], classes)
    counts = pd.crosstab(answers["label"], answers["predicted"]).reindex(index=classes, columns=classes, fill_value=0)
    return scores | {"folds": list(_per_fold(answers)), "confusion": counts.to_dict("index")}, answers


def _tested(answers: pd.DataFrame, part: int) -> pd.DataFrame:
    tested = answers[answers["fold"] == "test"].assign(fold=np.int8(part))
    return tested[["id", "origin", "label", "predicted", "fold", *answers.columns[5:]]]


def _per_fold(answers: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for _, rows in answers.groupby("fold"):
        yield {"accuracy": float((rows["label"] == rows["predicted"]).mean()), "n": len(rows)}


def assess(
    assessor: Assessor, config: AssessConfig, *, validation: float, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Do all that the config asks for; what it does not is None, or a table without rows.

    Returns `repeats`, `control` and `crossvalidation` (see there), and the answers of cross-validation.
    """
    manifest = pd.read_parquet(assessor.folders.split / "manifest.parquet")
    no_answers = pd.DataFrame(columns=["id", "origin", "label", "predicted", "fold"])
    crossed, answers = (
        cross_validate(assessor, manifest, config.folds, validation=validation, seed=seed)
        if config.folds
        else (None, no_answers)
    )
    found = {
        "repeats": repeats(assessor, manifest, config.repeats, seed=seed) if config.repeats else None,
        "control": control(assessor, manifest, seed=seed) if config.control else None,
        "crossvalidation": crossed,
    }
    return found, answers
