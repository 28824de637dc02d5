"""The report's chapter about runs that colorize."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamina.charts.chapter import Chapter, ShownRows, render, run_parts
from lamina.results.result_file import read_table
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.colorize import tables
from lamina.tasks.colorize.results import PREDICTED, ColorScores, Metrics

PACKAGE = "lamina.tasks.colorize"


def chapter(system: Path, names: Sequence[str], data: ShownRows) -> Chapter:
    """Lay out the chapter, lowest test MSE first; see `lamina.tasks.task.Task.chapter`."""
    runs = tables.ranked([read_trained(system, name, Metrics, PREDICTED) for name in names])
    best, comparison = runs[0], tables.comparison(runs)
    return Chapter(
        title="Colors",
        anchor="colors",
        lead=render(PACKAGE, "lead.html.jinja", best=best),
        board=render(
            PACKAGE,
            "board.html.jinja",
            runs=runs,
            comparison=comparison,
            scale=tables.scale(runs),
            baselines=tables.baselines(best),
            lowest=tables.lower_baseline(best, "test"),
            shown_measures=tables.SHOWN,
        ),
        certainty=render(PACKAGE, "certainty.html.jinja", comparison=comparison),
        runs={run.name: _section(run) for run in runs},
        record=best.record,
        best=f"best colorizer {best.name} with a test MSE of {best.metrics.test.value:.1f}",
    )


def _section(run: TrainedRun) -> Any:
    scores, crossed = tables.test_scores(run), run.assessment.crossvalidation
    crossvalidated: list[tables.Duel] = []
    if crossed:
        judged = read_table(run.folder / "crossvalidation.parquet", PREDICTED, f"assess@{run.name}")
        crossvalidated = list(tables.duels(ColorScores.model_validate(crossed.scores).against, judged).values())
    return render(
        PACKAGE,
        "run.html.jinja",
        parts=run_parts(run, "mse", level=tables.lower_baseline(run, "validation")),
        duels=list(tables.duels(scores.against, run.predictions).values()),
        crossvalidated=crossvalidated,
    )
