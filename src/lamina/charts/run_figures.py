"""The figures of a run of any task, as markup with a description for those who cannot see them."""

from markupsafe import Markup

from lamina.charts import figures
from lamina.results.trained import TrainedRun


def drawn_curve(run: TrainedRun, measure: str, *, level: tuple[str, float] | None = None) -> Markup:
    """Draw a measure of training and validation over the epochs; level: name and value of a line to compare with."""
    last = run.history.iloc[-1]
    ends = f"train {last[f'train_{measure}']:.3f}, validation {last[f'validation_{measure}']:.3f}"
    alt = f"{figures.CURVES[measure]} of {run.name} over {len(run.history)} epochs; at the end: {ends}"
    return figures.svg(figures.curve(run.history, measure, level=level), alt, f"{run.name} {measure}")


def drawn_trials(run: TrainedRun, measure: str) -> list[Markup]:
    """Draw the trials in their order and by a tuned number; nothing where none came to a value."""
    if not run.trials["value"].notna().any():
        return []
    tried = figures.TRIED[measure]
    what = f"{tried[0].upper()}{tried[1:]} of {len(run.trials)} trials of {run.name}"
    in_order, scatter = figures.trials_in_order(run.trials, measure), figures.scatter(run.trials, measure)
    return [
        figures.svg(in_order, f"{what} in their order, and the best so far", f"{run.name} trials in order"),
        figures.svg(scatter, f"{what} by a tuned number", f"{run.name} trials"),
    ]
