"""A task's part of the report: what it shows of every run, and how its templates are rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from lamina.charts import figures
from lamina.charts.formatting import FILTERS, number
from lamina.charts.inlined import Drawn, inlined_sheet
from lamina.results.record import Record
from lamina.results.trained import TrainedRun
from lamina.tuning.importance import TRIALS_TO_WEIGH, importances


class ShownRows(Protocol):
    """Pictures or texts by id.

    Attributes:
        noun: what a row is, as the page says it: picture or text.
    """

    @property
    def noun(self) -> str: ...

    def name(self, row: str) -> str:
        """Return the name of a row."""

    def shown(self, row: str) -> Markup:
        """Return the picture, or the beginning of the text, as markup; raises UserError where there is none."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """The page's part about the runs of one task.

    Attributes:
        title: Of the section that compares them.
        anchor: Its id in the page.
        lead: the sentence about the best run, for the top of the page.
        board: the section that compares the runs.
        certainty: For the section about the uncertainty of scores; may be empty.
        runs: a section for each run, by name, the best first.
        record: of one of the runs.
        best: the best run and its test score in words, for the terminal.
    """

    title: str
    anchor: str
    lead: Markup
    board: Markup
    certainty: Markup
    runs: Mapping[str, Markup]
    record: Record
    best: str


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """What the section of every run shows: curves, sheets, settings, and how it was tuned."""

    run: TrainedRun
    curves: Sequence[Markup]
    sheets: Mapping[str, Drawn]
    states: Mapping[str, int]
    importances: Mapping[str, float] | None
    trials: Sequence[Markup]


def run_parts(run: TrainedRun, measure: str, *, level: tuple[str, float] | None = None) -> RunParts:
    """Draw the figures of a run's section; no curves for a single epoch.

    Args:
        run: The run.
        measure: Of its task.
        level: Name and value of a line to compare the measure's curve with.
    """
    curves = [
        _drawn_curve(run, name, level=level if name == measure else None)
        for name in ("loss", measure)
        if len(run.history) > 1 and {f"train_{name}", f"validation_{name}"} <= set(run.history.columns)
    ]
    return RunParts(
        run=run,
        curves=curves,
        sheets={name: inlined_sheet(path) for name, path in run.sheets.items()},
        states=states(run.trials),
        importances=importances(run.trials),
        trials=_drawn_trials(run, measure),
    )


def _drawn_curve(run: TrainedRun, measure: str, *, level: tuple[str, float] | None = None) -> Markup:
    """Draw a measure of training and validation over the epochs; level: name and value of a line to compare with."""
    last = run.history.iloc[-1]
    ends = f"train {number(last[f'train_{measure}'])}, validation {number(last[f'validation_{measure}'])}"
    alt = f"{figures.CURVES[measure]} of {run.name} over {len(run.history)} epochs; at the end: {ends}"
    return figures.svg(figures.curve(run.history, measure, level=level), alt, f"{run.name} {measure}")


def _drawn_trials(run: TrainedRun, measure: str) -> list[Markup]:
    """Draw the trials in their order and by a tuned number; nothing where none came to a value."""
    if not np.isfinite(run.trials["value"].to_numpy(dtype=float)).any():
        return []
    tried = figures.TRIED[measure]
    what = f"{tried[0].upper()}{tried[1:]} of {len(run.trials)} trials of {run.name}"
    in_order, scatter = figures.trials_in_order(run.trials, measure), figures.scatter(run.trials, measure)
    return [
        figures.svg(in_order, f"{what} in their order, and the best so far", f"{run.name} trials in order"),
        figures.svg(scatter, f"{what} by a tuned number", f"{run.name} trials"),
    ]


def states(trials: pd.DataFrame) -> dict[str, int]:
    """Count trials by state, in lower case, sorted."""
    counts = trials["state"].astype(str).str.lower().value_counts()
    return {str(state): int(counts[state]) for state in sorted(counts.index)}


def render(package: str, template: str, **values: Any) -> Markup:
    """Render a template of a package; it may use the templates and macros of `lamina.charts`."""
    found = _environment(package).get_template(template)
    return Markup(found.render(to_weigh=TRIALS_TO_WEIGH, **values))  # noqa: S704 - escaped


@cache
def _environment(package: str) -> jinja2.Environment:
    """Return the environment of a package's templates: each is compiled once, for all runs of a page."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package, "."), jinja2.PackageLoader("lamina.charts", ".")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
