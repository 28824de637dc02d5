"""The report's chapter of a task that has no page of its own: a table of the runs, and a section of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from markupsafe import Markup

from lamina.charts.chapter import Chapter, render, run_parts
from lamina.charts.comparison import Comparison, compared, number_scale, same_pictures
from lamina.maths.comparison import mean_differences
from lamina.results.trained import TrainedRun

PACKAGE = "lamina.charts"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An answer without learning that runs are compared with: its name in words, and its score in a run's test fold."""

    name: str
    value: Callable[[TrainedRun], float]


def plain_chapter(
    title: str,
    anchor: str,
    runs: Sequence[TrainedRun],
    *,
    higher_is_better: bool = False,
    of_each: Callable[[TrainedRun], np.ndarray] | None = None,
    baseline: Baseline | None = None,
    further: Callable[[TrainedRun], Markup] = lambda run: Markup(),
    captions: Mapping[str, str] = MappingProxyType({}),
) -> Chapter:
    """Lay out runs whose scores have one measure.

    The chapter has a table of the runs, then curves, sheets and tuning of each.

    Args:
        title: of the section.
        anchor: its place in the page.
        runs: at least one.
        higher_is_better: whether the best run has the highest value of the measure.
        of_each: the measure of each row of a run's predictions, by which pairs of runs are compared; None: not.
        baseline: what every run must beat, if there is such an answer.
        further: markup to show in the section of a run.
        captions: of sheets, by name; others have their name.

    Raises:
        UserError: if runs that are compared were tested on different pictures.
    """
    sign = -1 if higher_is_better else 1
    ranked = sorted(runs, key=lambda run: (sign * run.metrics.test.value, run.name))
    best = ranked[0]
    measure, value = best.metrics.test.measure, best.metrics.test.value
    values: dict[str, Any] = {"title": title, "anchor": anchor, "measure": measure}
    comparison = _comparison(ranked, of_each) if of_each else None
    level = baseline.value(best) if baseline else None
    shown = {"runs": ranked, "comparison": comparison, "higher": higher_is_better}
    scale = number_scale([*(v for run in ranked for v in _ends(run)), *([] if level is None else [level])])
    return Chapter(
        title=title,
        anchor=anchor,
        lead=render(PACKAGE, "plain_lead.html.jinja", best=best, **values),
        board=render(PACKAGE, "plain_board.html.jinja", scale=scale, baseline=baseline, level=level, **shown, **values),
        certainty=render(PACKAGE, "plain_certainty.html.jinja", **shown, **values),
        runs={
            run.name: render(
                PACKAGE,
                "plain_run.html.jinja",
                parts=run_parts(run, measure),
                further=further(run),
                captions=captions,
                **values,
            )
            for run in ranked
        },
        record=best.record,
        best=f"best {best.name} with a test {measure} of {value:.4g}",
    )


def chapter_by_group(
    title: str,
    anchor: str,
    runs: Sequence[TrainedRun],
    group_of: Callable[[TrainedRun], str],
    lay_out: Callable[[str, str, Sequence[TrainedRun]], Chapter],
) -> Chapter:
    """Lay out runs that learned different things, such as two targets, each group by itself: they are not compared.

    Args:
        title: of the section, or of all sections.
        anchor: of the first section.
        runs: at least one.
        group_of: what a run learned, in words.
        lay_out: of title, anchor and the runs of a group.
    """
    groups: dict[str, list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault(group_of(run), []).append(run)
    if len(groups) == 1:
        return lay_out(title, anchor, runs)
    places = enumerate(groups.items(), start=1)
    parts = [lay_out(f"{title}: {name}", anchor if n == 1 else f"{anchor}-{n}", some) for n, (name, some) in places]
    return replace(
        parts[0],
        title=title,
        lead=Markup().join(part.lead for part in parts),
        board=Markup().join(part.board for part in parts),
        certainty=Markup().join(part.certainty for part in parts),
        runs={name: section for part in parts for name, section in part.runs.items()},
        best=", ".join(part.best for part in parts),
    )


def _ends(run: TrainedRun) -> list[float]:
    test = run.metrics.test
    return [test.value, *(test.interval or ())]


def _comparison(runs: Sequence[TrainedRun], of_each: Callable[[TrainedRun], np.ndarray]) -> Comparison | None:
    """Compare all pairs of runs, best first; None for a single run."""
    answers = same_pictures({run.name: run.predictions for run in runs})
    if len(runs) < 2:
        return None
    values = {run.name: of_each(run)[run.predictions["id"].argsort().to_numpy()] for run in runs}
    return compared(list(values), mean_differences(values, answers[runs[0].name]["origin"].to_numpy()))
