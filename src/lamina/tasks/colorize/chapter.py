"""What the page shows of one run that colors pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from lamina.charts.inlined import Drawn, inlined_sheet
from lamina.charts.run_figures import drawn_curve, drawn_trials
from lamina.report import tables
from lamina.results.trained import Trained
from lamina.tasks.colorize.results import ColorRun
from lamina.tasks.colorize.tables import Duel, duels, lower_baseline
from lamina.tuning.importance import importances

NOT_SETTINGS: Final = ("watch",)  # what DVC watches says nothing of the run


@dataclass(frozen=True, kw_only=True)
class ColorChapter:
    """What the page shows of one run that colors.

    duels: on the test pictures; crossvalidated: on all, none where it was not cross-validated. settings: its section,
    with what tuning found.
    """

    run: ColorRun
    duels: Sequence[Duel]
    crossvalidated: Sequence[Duel]
    curves: Sequence[Markup]
    sheets: Mapping[str, Drawn]
    settings: Mapping[str, Any]
    states: Mapping[str, int]
    importances: Mapping[str, float] | None
    trials: Sequence[Markup]


def color_chapter(run: ColorRun) -> ColorChapter:
    level, crossed = lower_baseline(run, "validation"), run.assessment.crossvalidation
    return ColorChapter(
        run=run,
        duels=list(duels(run.metrics.test.against, run.predictions).values()),
        crossvalidated=list(duels(crossed.against, run.crossvalidated).values()) if crossed else [],
        curves=[
            drawn_curve(run, "loss", may_be_steep=True),
            drawn_curve(run, "mse", may_be_steep=True, level=level),
        ],
        sheets={name: inlined_sheet(path) for name, path in run.sheets.items()},
        settings=settings(run),
        states=tables.states(run.trials),
        importances=importances(run.trials),
        trials=drawn_trials(run, "mse"),
    )


def settings(run: Trained) -> dict[str, Any]:
    """What `params.yaml` told of a run, with what tuning found."""
    told = {name: value for name, value in run.record.params.items() if name not in NOT_SETTINGS and value is not None}
    return {name: run.tuned.get(name, value) for name, value in told.items()}
