"""The report's chapter about runs that classify."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from lamina.charts import figures
from lamina.charts.chapter import Chapter, render, run_parts
from lamina.charts.inlined import Drawn, inlined
from lamina.errors import UserError
from lamina.maths.calibration import reliability
from lamina.maths.color import lab_to_srgb
from lamina.results.result_file import read_table
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.classify import tables
from lamina.tasks.classify.results import PREDICTED, Metrics

PACKAGE: Final = "lamina.tasks.classify"
MISTAKES: Final = 12
LARGEST_SIDE: Final = 160  # pixels of a picture in the page, at which 16 runs stay below 3 MB


@dataclass(frozen=True, kw_only=True)
class ShownMistake:
    """A mistake with the name of its row, and the picture where there is one."""

    mistake: tables.Mistake
    name: str
    picture: Drawn


def chapter(system: Path, names: Sequence[str], pictures: Any) -> Chapter:
    """Lay out the chapter, best test accuracy first; see `lamina.tasks.task.Task.chapter`."""
    runs = tables.ranked([_read(system, name) for name in names])
    best, comparison = runs[0], tables.comparison(runs)
    controls = {run.name: run.assessment.control for run in runs}
    alarms = [name for name, control in controls.items() if control and not control.passed]
    places = {picture: place for place, picture in enumerate(pictures.names.index)}
    return Chapter(
        title="Classes",
        anchor="leaderboard",
        lead=render(PACKAGE, "lead.html.jinja", best=best),
        board=render(PACKAGE, "board.html.jinja", runs=runs, comparison=comparison, scale=tables.scale(runs)),
        certainty=render(PACKAGE, "certainty.html.jinja", runs=runs, comparison=comparison, alarms=alarms),
        runs={run.name: _section(run, pictures, places) for run in runs},
        record=best.record,
        best=f"best classifier {best.name} with a test accuracy of {best.metrics.test.value:.1%}",
    )


def _read(system: Path, name: str) -> TrainedRun:
    run = read_trained(system, name, Metrics)
    columns = (*PREDICTED, *run.record.classes)
    read_table(run.folder / "predictions.parquet", columns, f"evaluate@{name}")
    return run


def _section(run: TrainedRun, pictures: Any, places: Mapping[str, int]) -> Markup:
    classes = run.record.classes
    wrong = tables.mistakes(run.predictions, classes, MISTAKES)
    return render(
        PACKAGE,
        "run.html.jinja",
        parts=run_parts(run, "accuracy"),
        confusion=tables.confusion(run.predictions, classes),
        reliability=_reliability(run),
        wrong=int((run.predictions["label"] != run.predictions["predicted"]).sum()),
        mistakes=[_shown(run.name, mistake, pictures, places) for mistake in wrong],
    )


def _reliability(run: TrainedRun) -> Markup:
    classes = run.record.classes
    truth = pd.Categorical(run.predictions["label"], categories=classes).codes
    bins = reliability(run.predictions[classes], truth)
    points = ", ".join(f"confidence {row.confidence:.2f}, accuracy {row.accuracy:.2f}" for row in bins.itertuples())
    return figures.svg(figures.reliability(bins), f"Reliability of {run.name}: {points}", f"{run.name} reliability")


def _shown(run: str, mistake: tables.Mistake, pictures: Any, places: Mapping[str, int]) -> ShownMistake:
    place = places.get(mistake.id)
    if place is None:
        raise UserError(
            f"data/lab/manifest.parquet: no picture {mistake.id}, which {run} was tested on; run `dvc repro`"
        )
    pixels = lab_to_srgb(np.array(pictures.pixels[place]))
    return ShownMistake(
        mistake=mistake,
        name=str(pictures.names.iloc[place]),
        picture=inlined(Image.fromarray(pixels), LARGEST_SIDE),
    )
