"""How sure the numbers of a run are: the run trained again, with other seeds, other folds, or nothing to learn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lamina.errors import UserError
from lamina.maths.control import chance_test, shuffle_labels, units
from lamina.maths.crossvalidation import AssessConfig, fold_of
from lamina.maths.scores import score
from lamina.results.repeats import JUDGED, Assessor, Training, per_fold, repeats, tested_once
from lamina.tasks.classify.learning import ClassTask, class_task
from lamina.tasks.runs import ClassifierRun, TransferRun
from lamina.training.training_options import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class ClassAssessor(Assessor[ClassifierRun, ClassTask]):
    """Trains a run that names classes again.

    Its answers have also `label`, `predicted`, and a column of probabilities per class.
    """

    values = "accuracies"

    @property
    def fine_tunes(self) -> bool:
        """Whether more than a head learns over a frozen backbone."""
        return isinstance(self.run, TransferRun) and self.run.fine_tune is not None

    def task(self, training: Training) -> ClassTask:
        return class_task(
            self.name,
            self.run,
            self.folders,
            seed=training.seed,
            manifest=training.manifest,
            augment=self.augment,
        )

    def train(self, task: ClassTask, training: Training, underway: Path) -> pd.DataFrame:
        options = TrainingOptions(what=f"{self.name}: {training.name}")
        if self.fine_tunes:
            from lamina.tasks.classify.fine_tuning import learn_whole

            learned, examples = learn_whole(task, self.tuned, options), task.pictures
        else:
            learned, examples = task.learn(self.tuned, options), task.examples
        manifest, tables = training.manifest, []
        for fold in JUDGED:
            rows = manifest.loc[manifest["fold"] == fold, ["id", "origin", "label", "fold"]].reset_index(drop=True)
            tables.append(rows.join(pd.DataFrame(learned.answers(examples(fold)), columns=task.classes)))
        table = pd.concat(tables, ignore_index=True)
        best = table[task.classes].to_numpy().argmax(axis=1)
        table.insert(4, "predicted", np.array(task.classes, dtype=object)[best])
        return table

    def value(self, answers: pd.DataFrame) -> float:
        return float((answers["label"] == answers["predicted"]).mean())


def control(assessor: ClassAssessor, manifest: pd.DataFrame, *, seed: int) -> dict[str, Any]:
    """Train with labels dealt at random, of all folds: what answers better than chance has seen what it was asked.

    Returns what `lamina.maths.control.chance_test` says of the test pictures, and `n`, their number.
    """
    shuffled = shuffle_labels(manifest, seed)
    answers = assessor.answers(Training(name="control with shuffled labels", seed=seed, manifest=shuffled))
    unit = pd.Series(units(manifest), index=manifest["id"]).groupby(level=0).first()
    test = answers[answers["fold"] == "test"]
    found = chance_test(test["label"], test["predicted"], unit.loc[test["id"]], seed=seed)
    return found | {"n": len(test)}


def cross_validate(
    assessor: ClassAssessor, manifest: pd.DataFrame, folds: int, *, validation: float, seed: int
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
    rounds = [fold_of(manifest, part, validation, seed) for part in range(folds)]
    answers = tested_once(assessor, rounds, seed=seed)
    answers.insert(4, "fold", answers.pop("fold"))
    classes = [str(column) for column in answers.columns[5:]]
    scores = score(answers["label"], answers["predicted"], answers["origin"], classes)
    counts = pd.crosstab(answers["label"], answers["predicted"]).reindex(index=classes, columns=classes, fill_value=0)
    return scores | {"folds": list(per_fold(assessor, answers)), "confusion": counts.to_dict("index")}, answers


def assess(
    assessor: ClassAssessor, config: AssessConfig, *, validation: float, seed: int
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
