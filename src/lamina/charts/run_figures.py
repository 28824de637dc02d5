"""The figures of a run of any kind, as markup with the words for those who cannot see them."""

from typing import Any

from markupsafe import Markup

from lamina.charts import figures
from lamina.results.trained import Trained


def drawn_curve(run: Trained, measure: str, *, title: str | None = None, **how: Any) -> Markup:
    """Draw the course of a measure; how: as `lamina.charts.figures.curve` takes it."""
    last = run.history.iloc[-1]
    ends = f"train {last[f'train_{measure}']:.3f}, validation {last[f'validation_{measure}']:.3f}"
    alt = f"{title or figures.CURVES[measure]} of {run.name} over {len(run.history)} epochs; at the end: {ends}"
    return figures.svg(figures.curve(run.history, measure, title=title, **how), alt, f"{run.name} {measure}")


def drawn_trials(run: Trained, measure: str) -> list[Markup]:
    """Draw the trials in their order and by a tuned number; nothing where none came to a value."""
    if not run.trials["value"].notna().any():
        return []
    told = figures.TRIED[measure]
    what = f"{told[0].upper()}{told[1:]} of {len(run.trials)} trials of {run.name}"
    course, scatter = figures.course(run.trials, measure), figures.scatter(run.trials, measure)
    return [
        figures.svg(course, f"{what} in their order, and the best so far", f"{run.name} course"),
        figures.svg(scatter, f"{what} by a tuned number", f"{run.name} trials"),
    ]
