"""The report's chapter about runs that classify."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import pandas as pd
from markupsafe import Markup

from lamina.charts import figures
from lamina.charts.chapter import Chapter, ShownRows, render, run_parts
from lamina.maths.calibration import reliability
from lamina.maths.curves import GRID, curves
from lamina.results.metrics import FEW_CLASSES
from lamina.results.result_file import read_table
from lamina.results.trained import TrainedRun, read_trained
from lamina.results.uncertainty import find_judge
from lamina.tasks.classify import tables
from lamina.tasks.classify.results import PREDICTED, ClassScores
from lamina.tasks.classify.scores import JudgedScores, Metrics
from lamina.tasks.classify.uncertainty import columns
from lamina.tasks.columns import probability

PACKAGE: Final = "lamina.tasks.classify"
MISTAKES: Final = 12
SCORES: Final = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Cohen's kappa",
    "matthews": "Matthews correlation",
    "aurc": "Area under risk-coverage (less is better)",
}


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
        ranking=_curves(run),
        **_limits(run),
        scores=SCORES,
        wrong=int((run.predictions["label"] != run.predictions["predicted"]).sum()),
        data=data,
        noun=data.noun,
        mistakes=tables.mistakes(run.predictions, classes, MISTAKES),
    )


def _limits(run: TrainedRun) -> dict[str, Any]:
    """Return the origins that sets were calibrated on, and the classes without a limit, of one and of each class."""
    judge = find_judge(run.folder, run.record.key)
    known = (judge.known.limits, judge.known.limits_by_class) if judge else ({}, {})
    without = [[name for name, one in limits.items() if one.value is None] for limits in known]
    origins = max((one.origins for one in known[0].values()), default=0)
    return {"calibrated": origins, "unlimited": without[0], "unlimited_by_class": without[1]}


def _reliability(run: TrainedRun) -> Markup:
    classes = run.record.classes
    truth = pd.Categorical(run.predictions["label"], categories=classes).codes
    shares, judge = (
        run.predictions[[*map(probability, classes)]].to_numpy(dtype=float),
        find_judge(run.folder, run.record.key),
    )
    bins = reliability(shares, truth)
    scaled = reliability(judge.known.scaled(shares), truth) if judge else None
    points = ", ".join(f"confidence {row.confidence:.2f}, accuracy {row.accuracy:.2f}" for row in bins.itertuples())
    return figures.svg(
        figures.reliability(bins, scaled), f"Reliability of {run.name}: {points}", f"{run.name} reliability"
    )


def _curves(run: TrainedRun) -> list[Markup]:
    """Draw the ROC curve, precision over recall, and the risk-coverage curve."""
    test = cast(JudgedScores, run.metrics.test)
    if not test.further:
        return []
    shares, truth, _ = columns(run.predictions, run.record.classes)
    found, few = curves(shares, truth), len(run.record.classes) <= FEW_CLASSES
    drawn = [
        ("ROC", ("false positive rate", "true positive rate"), found.roc),
        ("Finding a class", ("recall", "precision"), found.precision),
        ("Risk and coverage", ("share of answers given, the surest first", "error rate"), found.risk[None]),
    ]
    return [
        figures.svg(
            figures.shares(title, labels, GRID, rows.mean(axis=0), rows if few and len(rows) > 1 else None),
            f"{title} of {run.name}: {labels[1]} over {labels[0]}",
            f"{run.name} {title}",
        )
        for title, labels, rows in drawn
        if len(rows)
    ]
