"""The report's chapter about runs that learn lightness."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from lamina.charts.chapter import Chapter, ShownRows, render, run_parts
from lamina.charts.comparison import same_pictures
from lamina.results.trained import read_trained
from lamina.tasks.lightness.results import LightnessScores, Metrics

PACKAGE = "lamina.tasks.lightness"


def chapter(system: Path, names: Sequence[str], data: ShownRows) -> Chapter:
    """Lay out the chapter, lowest test MSE first; see `lamina.tasks.task.Task.chapter`."""
    runs = [read_trained(system, name, Metrics) for name in names]
    same_pictures({run.name: run.predictions for run in runs})
    runs.sort(key=lambda run: (run.metrics.test.value, run.name))
    sections = {}
    for run in runs:
        level = ("training mean", cast(LightnessScores, run.metrics.validation).baseline)
        sections[run.name] = render(PACKAGE, "run.html.jinja", parts=run_parts(run, "mse", level=level))
    return Chapter(
        title="Lightness from color",
        anchor="lightness",
        lead=render(PACKAGE, "lead.html.jinja", best=runs[0]),
        board=render(PACKAGE, "board.html.jinja", runs=runs),
        certainty=render(PACKAGE, "repeats.html.jinja", runs=runs, title="Lightness from color", measure="mse"),
        runs=sections,
        record=runs[0].record,
        best=f"best at lightness {runs[0].name} with a test MSE of {runs[0].metrics.test.value:.1f}",
    )
