"""`assessment.json`: what training a run again showed."""

from typing import Any

from lamina.results.result_file import ResultFile


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


class Control(ResultFile):
    """The run trained with shuffled labels. interval: what chance makes of 95 % of such shuffles."""

    accuracy: float
    chance: float
    interval: tuple[float, float]
    p: float
    passed: bool
    n: int


class Assessment(ResultFile):
    """What training the run again showed; None for what was not configured."""

    repeats: Repeats | None = None
    crossvalidation: CrossValidation | None = None
    control: Control | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was trained again."""
        return not (self.repeats or self.crossvalidation or self.control)
