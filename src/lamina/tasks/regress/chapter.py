"""The report's chapter about runs that predict a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np
import pandas as pd
from markupsafe import Markup

from lamina.charts import figures
from lamina.charts.chapter import Chapter, ShownRows, render
from lamina.charts.plain import Baseline, chapter_by_group, plain_chapter
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.regress.results import PREDICTED, Metrics, NumberScores

PACKAGE: Final = "lamina.tasks.regress"
SCORES: Final = {
    "rmse": "Root of the mean squared error",
    "r2": "R\N{SUPERSCRIPT TWO}: share of the squared deviations that is gone",
    "spearman": "Correlation of the ranks (Spearman)",
    "bias": "Mean of predicted minus true",
}
DOTS: Final = 2000  # of a figure
WORST: Final = 12  # texts


@dataclass(frozen=True, kw_only=True)
class Worst:
    """A test text whose prediction is far off; `difference` is the predicted number minus the true one."""

    id: str
    origin: str
    target: float
    predicted: float
    difference: float


def chapter(system: Path, names: Sequence[str], data: ShownRows) -> Chapter:
    """Lay out the chapter, lowest test MAE of a target first; see `lamina.tasks.task.Task.chapter`."""
    runs = [read_trained(system, name, Metrics, PREDICTED) for name in names]
    return chapter_by_group("Numbers", "numbers", runs, _target, partial(_lay_out, data=data))


def _lay_out(title: str, anchor: str, runs: Sequence[TrainedRun], data: ShownRows) -> Chapter:
    return plain_chapter(
        title,
        anchor,
        runs,
        of_each=_errors,
        baseline=Baseline(name="always the training mean", value=lambda run: _test(run).baseline or 0.0),
        further=partial(_further, data=data),
        captions={
            "numbers": "Test pictures from the lowest to the highest true number, and those whose prediction is "
            "furthest off: the true number, and the predicted one."
        },
    )


def _target(run: TrainedRun) -> str:
    return str(run.record.settings["target"])


def _test(run: TrainedRun) -> NumberScores:
    return cast(NumberScores, run.metrics.test)


def _errors(run: TrainedRun) -> np.ndarray:
    return np.asarray((run.predictions["target"] - run.predictions["predicted"]).abs(), np.float64)


def _further(run: TrainedRun, data: ShownRows) -> Markup:
    test, rows = _test(run), run.predictions.sort_values("id").head(DOTS)
    true, found = rows["target"].to_numpy(float), rows["predicted"].to_numpy(float)
    margin = test.held.margin if test.held else None
    target = _target(run)
    drawn = {
        "predicted over true": figures.predicted_over_true(true, found, margin),
        "residuals over true": figures.residuals(true, found),
    }
    return render(
        PACKAGE,
        "further.html.jinja",
        test=test,
        target=target,
        scores={words: test.further[name] for name, words in SCORES.items() if name in test.further},
        drawn=[
            figures.svg(figure, f"{target} of {run.name}: {what}, test fold", f"{run.name} {what}")
            for what, figure in drawn.items()
        ],
        worst=_worst(run.predictions, WORST) if run.record.input.startswith("words/") else [],  # pictures have a sheet
        data=data,
    )


def _worst(predictions: pd.DataFrame, most: int) -> list[Worst]:
    """Return at most `most` test texts whose predictions are furthest off, the worst first, then by id."""
    difference = predictions["predicted"] - predictions["target"]
    table = predictions[["id", "origin", "target", "predicted"]].assign(difference=difference, error=difference.abs())
    shown = table.sort_values(["error", "id"], ascending=[False, True]).head(most).drop(columns="error")
    return [Worst(**{str(name): value for name, value in row.items()}) for row in shown.to_dict("records")]
