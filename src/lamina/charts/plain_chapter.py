"""The chapter of a task that has no page of its own: a table of its runs, then curves, sheets and tuning of each."""

from collections.abc import Sequence

from lamina.charts.chapter import Chapter, render, run_parts
from lamina.results.trained import TrainedRun


def plain_chapter(title: str, anchor: str, runs: Sequence[TrainedRun], *, higher_is_better: bool = False) -> Chapter:
    """Lay out runs whose scores have one measure.

    Args:
        title: of the section.
        anchor: its place in the page.
        runs: at least one.
        higher_is_better: whether the best run has the highest value of the measure.
    """
    sign = -1 if higher_is_better else 1
    ranked = sorted(runs, key=lambda run: (sign * run.metrics.test.value, run.name))
    best = ranked[0]
    measure, value = best.metrics.test.measure, best.metrics.test.value
    values = {"title": title, "anchor": anchor, "measure": measure}
    return Chapter(
        title=title,
        anchor=anchor,
        lead=render("lamina.charts", "plain_lead.html.jinja", best=best, **values),
        board=render("lamina.charts", "plain_board.html.jinja", runs=ranked, **values),
        certainty=render("lamina.charts", "repeats.html.jinja", runs=ranked, **values),
        runs={
            run.name: render("lamina.charts", "plain_run.html.jinja", parts=run_parts(run, measure), **values)
            for run in ranked
        },
        record=best.record,
        best=f"best {best.name} with a test {measure} of {value:.4g}",
    )
