"""`assessment.json`: what training a run again showed."""

from pathlib import Path
from typing import Any

from lamina.errors import UserError
from lamina.results.folders import made_by
from lamina.results.result_file import ResultFile, read_result


class Spread(ResultFile):
    """The measure's values of several trainings, their mean, and the standard deviation of one (None for one value)."""

    values: list[float]
    mean: float
    deviation: float | None


class Repeats(ResultFile):
    """Trainings with other seeds on the same split."""

    seeds: list[int]
    test: Spread
    validation: Spread


class FoldValue(ResultFile):
    """The measure on one fold of a cross-validation, and its number of rows."""

    value: float
    n: int


class CrossValidation(ResultFile):
    """A cross-validation in which every row was tested once, by a training without its origin.

    Attributes:
        scores: of all predictions together, as the task scores a fold. The intervals, over origins, do not account for
            trainings that share most of their rows.
        folds: the measure of each fold.
        starts_from_file: whether trainings start from weights that may have been learned from the same pictures.
    """

    scores: dict[str, Any]
    folds: list[FoldValue]
    starts_from_file: bool = False


class Chance(ResultFile):
    """Whether a run that was trained with shuffled true answers predicts better than chance.

    Attributes:
        chance: mean of the measure over shuffles.
        interval: what chance makes of 95 % of them.
        p: of no more than chance; n: test rows.
    """

    chance: float
    interval: tuple[float, float]
    p: float
    passed: bool
    n: int


class Control(Chance):
    """A classifier trained with shuffled labels."""

    accuracy: float

    @property
    def measure(self) -> str:
        """Name of the measure."""
        return "accuracy"

    @property
    def value(self) -> float:
        """The measure over the test rows."""
        return self.accuracy

    @property
    def shuffled(self) -> str:
        """What was shuffled, in words."""
        return "shuffled labels"

    def shown(self, value: float) -> str:
        """Return a value of the measure as text."""
        return f"{value:.3f}"


class TargetControl(Chance):
    """A run that learns labels or a number of each row, trained with shuffled targets.

    measure: its name; value: of the test rows.
    """

    measure: str
    value: float

    @property
    def shuffled(self) -> str:
        """What was shuffled, in words."""
        return "shuffled targets"

    def shown(self, value: float) -> str:
        """Return a value of the measure as text: it may have any unit."""
        return f"{value:.4g}"


class Assessment(ResultFile):
    """What training the run again showed; None for what was not configured.

    key: that of the run's record; None where nothing was trained again, and for an ensemble.
    """

    key: str | None = None
    repeats: Repeats | None = None
    crossvalidation: CrossValidation | None = None
    control: Control | TargetControl | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was trained again."""
        return not (self.repeats or self.crossvalidation or self.control)


def read_assessment(folder: Path, key: str) -> Assessment:
    """Read what training a run again showed; an empty one where that did not happen.

    Args:
        folder: of the run or ensemble.
        key: of its record.

    Raises:
        UserError: if the file is broken, or of other settings or data than the present model, as after
            `dvc repro evaluate@RUN`; names the stage to run.
    """
    path, stage = folder / "assessment.json", made_by(folder, "assess")
    found = read_result(path, Assessment, stage) if path.exists() else Assessment()
    if found.key not in (None, key):
        raise UserError(f"{path}: is of an earlier training; run `dvc repro {stage}`")
    return found
