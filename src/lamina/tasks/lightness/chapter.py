"""What the page shows of one run that learns lightness from color."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lamina.charts.figures import MSE_OF_L
from lamina.charts.inlined import Drawn, inlined_sheet
from lamina.charts.run_figures import drawn_curve, drawn_trials
from lamina.report import tables
from lamina.tasks.colorize.chapter import settings
from lamina.tasks.lightness.results import PretextRun
from lamina.tuning.importance import importances


@dataclass(frozen=True, kw_only=True)
class PretextChapter:
    """What the page shows of one pretext run. settings: its section, with what tuning found."""

    run: PretextRun
    curves: Sequence[Markup]
    sheet: Drawn | None
    settings: Mapping[str, Any]
    states: Mapping[str, int]
    importances: Mapping[str, float] | None
    trials: Sequence[Markup]


def pretext_chapter(run: PretextRun) -> PretextChapter:
    level = ("level", run.metrics.validation.level)
    return PretextChapter(
        run=run,
        curves=[
            drawn_curve(run, "loss", may_be_steep=True),
            drawn_curve(run, "mse", may_be_steep=True, level=level, title=MSE_OF_L),
        ],
        sheet=inlined_sheet(run.sheet) if run.sheet else None,
        settings=settings(run),
        states=tables.states(run.trials),
        importances=importances(run.trials),
        trials=drawn_trials(run, "mse"),
    )
