"""The report's chapter about runs that classify."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import pandas as pd
from markupsafe import Markup

from lamina.charts import figures
from lamina.charts.chapter import Chapter, ShownRows, render, run_parts
from lamina.maths.calibration import reliability
from lamina.results.metrics import FEW_CLASSES
from lamina.results.result_file import read_table
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.classify import tables
from lamina.tasks.classify.results import PREDICTED, ClassScores, Metrics, probability

PACKAGE: Final = "lamina.tasks.classify"
MISTAKES: Final = 12


def chapter(system: Path, names: Sequence[str], data: ShownRows) -> Chapter:
    """Lay out the chapter, best test accuracy first; see `lamina.tasks.task.Task.chapter`."""
    runs = tables.ranked([_read(system, name) for name in names])
    best, comparison = runs[0], tables.comparison(runs)
    controls = {run.name: run.assessment.control for run in runs}
    alarms = [name for name, control in controls.items() if control and not control.passed]
    return Chapter(
        title="Classes",
        anchor="leaderboard",
        lead=render(PACKAGE, "lead.html.jinja", best=best),
        board=render(
            PACKAGE, "board.html.jinja", runs=runs, comparison=comparison, scale=tables.scale(runs), noun=data.noun
        ),
        certainty=render(
            PACKAGE, "certainty.html.jinja", runs=runs, comparison=comparison, alarms=alarms, noun=data.noun
        ),
        runs={run.name: _section(run, data) for run in runs},
        record=best.record,
        best=f"best classifier {best.name} with a test accuracy of {best.metrics.test.value:.1%}",
    )


def _read(system: Path, name: str) -> TrainedRun:
    run = read_trained(system, name, Metrics)
    columns = (*PREDICTED, *map(probability, run.record.classes))
    read_table(run.folder / "predictions.parquet", columns, f"evaluate@{name}")
    return run


def _section(run: TrainedRun, data: ShownRows) -> Markup:
    classes, test = run.record.classes, cast(ClassScores, run.metrics.test)
    few = len(classes) <= FEW_CLASSES
    return render(
        PACKAGE,
        "run.html.jinja",
        parts=run_parts(run, "accuracy"),
        confusion=tables.confusion(run.predictions, classes) if few else None,
        confused=[] if few else tables.confused(run.predictions),
        pairs_listed=tables.PAIRS,
        listed=tables.listed(test.per_class, classes),
        reliability=_reliability(run),
        wrong=int((run.predictions["label"] != run.predictions["predicted"]).sum()),
        data=data,
        noun=data.noun,
        mistakes=tables.mistakes(run.predictions, classes, MISTAKES),
    )


def _reliability(run: TrainedRun) -> Markup:
    classes = run.record.classes
    truth = pd.Categorical(run.predictions["label"], categories=classes).codes
    bins = reliability(run.predictions[[*map(probability, classes)]], truth)
    points = ", ".join(f"confidence {row.confidence:.2f}, accuracy {row.accuracy:.2f}" for row in bins.itertuples())
    return figures.svg(figures.reliability(bins), f"Reliability of {run.name}: {points}", f"{run.name} reliability")
