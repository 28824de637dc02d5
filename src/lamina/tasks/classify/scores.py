"""Scores of a classifier that evaluation adds to those of `results`; training does not import them."""

from collections.abc import Mapping

from lamina.results.estimate import Estimate
from lamina.results.metrics import bounds
from lamina.results.result_file import ResultFile
from lamina.tasks.classify import results
from lamina.tasks.classify.results import Calibration, ClassScores


class SetScores(ResultFile):
    """How prediction sets do; see `lamina.maths.conformal.score_sets`."""

    wanted: float
    coverage: float
    interval: tuple[float, float]
    expected: tuple[float, float] | None = None
    mean_size: float
    empty: float
    single: float


class Marked(ResultFile):
    """Share of the pictures that are marked as unlike those of training, and its interval; and what was wanted."""

    wanted: float
    share: float
    interval: tuple[float, float]


class JudgedScores(ClassScores):
    """Scores of a fold with all that evaluation measures.

    Attributes:
        further: of `lamina.maths.further_scores`, by name.
        scaled: calibration after temperature scaling, of the test fold.
        sets, sets_by_class: of the test fold, with one limit for all classes, and with one for each.
        outliers: of the test fold; None for texts.
    """

    further: Mapping[str, Estimate] = {}
    scaled: Calibration | None = None
    sets: SetScores | None = None
    sets_by_class: SetScores | None = None
    outliers: Marked | None = None

    def scalars(self) -> dict[str, float]:
        found = super().scalars()
        for name, one in self.further.items():
            found |= {name: one.value} | bounds(name, one.interval)
        if self.scaled:
            found |= {f"scaled_{name}": getattr(self.scaled, name) for name in ("ece", "brier", "log_loss")}
        for prefix, sets in (("sets", self.sets), ("sets_by_class", self.sets_by_class)):
            if sets:
                shown = {name: getattr(sets, name) for name in ("coverage", "mean_size", "empty", "single")}
                found |= {f"{prefix}_{name}": value for name, value in shown.items()}
                found |= bounds(f"{prefix}_coverage", sets.interval)
        if self.outliers:
            found |= {"outliers": self.outliers.share} | bounds("outliers", self.outliers.interval)
        return found


class Metrics(results.Metrics):
    """What `metrics.json` holds."""

    test: JudgedScores
    validation: JudgedScores
