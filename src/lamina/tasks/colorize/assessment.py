"""How sure the numbers of a run that colors are: the run trained again, with other seeds or on other folds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lamina.data.rows import Folders
from lamina.files import discard
from lamina.maths.color_scores import squared_errors, summarise
from lamina.maths.crossvalidation import AgainConfig, fold_of, partition
from lamina.models.backbones import GIVEN_WEIGHTS
from lamina.results.repeats import JUDGED, Assessor, Training, per_fold, repeats, tested_once
from lamina.tasks.colorize.learning import ColorTask, color_task
from lamina.tasks.runs import ColorizeRun
from lamina.training.checkpoint import Checkpoint
from lamina.training.learner import pixel_files, read_split
from lamina.training.training_options import TrainingOptions

COLUMNS: Final = ("id", "origin", "mse", "grey_mse", "mean_mse", "fold")
FOLDS_ASKED: Final = "assess.colorize.folds"


@dataclass(frozen=True, kw_only=True)
class ColorAssessor(Assessor[ColorizeRun, ColorTask]):
    """Trains a run that colors again.

    Its answers have also `mse`, and `grey_mse` and `mean_mse` of the baselines: the mean color is that of the pictures
    which this training learned from. All in squared CIELAB units.
    """

    values = "mse"

    @property
    def starts_from_file(self) -> bool:
        """Whether it starts from weights that some run left: pictures that it is tested on may be in them."""
        return self.run.weights not in GIVEN_WEIGHTS

    def task(self, training: Training) -> ColorTask:
        return color_task(self.run, self.folders, training.manifest, seed=training.seed, augment=self.augment)

    def train(self, task: ColorTask, training: Training, underway: Path) -> pd.DataFrame:
        from lamina.tasks.classify.fine_tuning import learn_whole

        options = TrainingOptions(what=f"{self.name}: {training.name}", checkpoint=Checkpoint(underway))
        learned = learn_whole(task, self.tuned, options)
        tables = []
        for fold in JUDGED:
            rows = training.manifest.loc[training.manifest["fold"] == fold, ["id", "origin", "fold"]]
            answered = task.examples(fold).answered(learned.network)
            errors = [squared_errors(lab, colors, task.mean_color) for lab, colors in answered]
            tables.append(rows.reset_index(drop=True).join(pd.concat(errors, ignore_index=True)))
        discard(underway)
        return pd.concat(tables, ignore_index=True)

    def value(self, answers: pd.DataFrame) -> float:
        return float(answers["mse"].mean())


def dealt(folders: Folders, folds: int, *, seed: int) -> pd.DataFrame:
    """All pictures with all of their planned copies, whole origins dealt to the parts of a cross-validation.

    The split need not hold such parts: classes are nothing to a colorizer, so that a rare one is no hindrance.
    Returns `id`, `origin` (as the split joined them), `label` (empty), `copy`, `part` (0 to folds - 1).
    Raises UserError where there are too few origins.
    """
    _, plan = pixel_files(folders)
    rows = pd.read_parquet(plan, columns=["id", "copy"])
    split = read_split(folders)
    originals = split[split["copy"] == 0]
    part = partition(list(originals["origin"]), [""] * len(originals), folds, seed, place=FOLDS_ASKED)
    origin = rows["id"].map(originals.set_index("id")["origin"])
    return rows.assign(origin=origin, label="", part=origin.map(part))


def cross_validate(
    assessor: ColorAssessor, pictures: pd.DataFrame, *, validation: float, split_seed: int, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train once for each part of `pictures` (as `dealt`), on the others, and test on it: every picture once.

    split_seed: of the pictures that validate, the same for every run; seed: of the trainings.
    Returns what `lamina.maths.color_scores.summarise` says of the MSE of all answers together (its intervals, over
    origins, do not know that the trainings share most of their pictures), with `folds`, the `mse` and `n` of each, and
    `starts_from_file`; and the answers, `COLUMNS`, `fold` being the part.
    Two things make this MSE a little too good: numbers that were tuned on the main split, whose validation pictures are
    tested here too, and weights that the run starts from, where these were learned from the same pictures.
    """
    parts = range(pictures["part"].max() + 1)
    rounds = [fold_of(pictures, part, validation, split_seed, place=FOLDS_ASKED) for part in parts]
    answers = tested_once(assessor, rounds, seed=seed)[list(COLUMNS)]
    scores = summarise(answers, answers["origin"], ("mse",))
    told = {"folds": list(per_fold(assessor, answers)), "starts_from_file": assessor.starts_from_file}
    return scores | told, answers


def assess_colors(
    assessor: ColorAssessor, config: AgainConfig, *, validation: float, split_seed: int, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Do all that the config asks for; what it does not is None, or a table without rows.

    validation: share of the pictures; split_seed: of the parts; seed: of the run.
    Returns `repeats` and `crossvalidation` (see there), and the answers of cross-validation.
    """
    found: dict[str, Any] = {"repeats": None, "crossvalidation": None}
    answers = pd.DataFrame(columns=list(COLUMNS))
    if config.repeats:
        found["repeats"] = repeats(assessor, read_split(assessor.folders), config.repeats, seed=seed)
    if config.folds:
        pictures = dealt(assessor.folders, config.folds, seed=split_seed)
        found["crossvalidation"], answers = cross_validate(
            assessor, pictures, validation=validation, split_seed=split_seed, seed=seed
        )
    return found, answers
