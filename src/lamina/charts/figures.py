"""Figures of runs, drawn with matplotlib, and their markup for the report.

Colors are those of a stained slide: violet as of hematoxylin, pink as of eosin. They are the page's light colors; `svg`
replaces them by the page's variables, so that figures follow its light or dark mode.
"""

import io
import re
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from lamina.results.measures import MEASURES, Measure
from lamina.tuning.importance import is_logarithmic, number_columns

INK = "#4a4560"
LINE = "#dcd8e6"
VIOLET = "#5b3fa8"
PINK = "#c72f6e"
PAPER = "#fffefd"
PAGE_COLORS = {INK: "--soft", LINE: "--line", VIOLET: "--violet", PINK: "--pink", PAPER: "--panel"}
SIZE = (4.8, 2.7)
PLACE = (0.13, 0.17, 0.83, 0.71)
FEW_EPOCHS = 30
STEEP = 20  # ratio of the largest to the smallest value above which an axis is logarithmic
CURVES = {"loss": "Loss", "accuracy": "Accuracy", "f1": "F1 per example", "mae": "MAE", "mse": "MSE"}
BY_NAME: Mapping[str, Measure] = {str(name): measure for name, measure in MEASURES.items()}
TRIED = {"accuracy": "validation accuracy", "f1": "validation F1", "mae": "validation MAE", "mse": "validation MSE"}


def curve(history: pd.DataFrame, measure: str, *, level: tuple[str, float] | None = None) -> Figure:
    """Draw a measure of training and validation over the epochs.

    Args:
        history: Columns `epoch`, `train_MEASURE`, `validation_MEASURE`.
        measure: `loss`, or that of the task; shares are drawn in percent.
        level: Name and value of a line to compare with.

    Returns:
        The figure. If the run's measure is no share, the axis is logarithmic where the values fall `STEEP` times.
    """
    figure, axes = _figure(CURVES[measure])
    marker = "o" if len(history) <= FEW_EPOCHS else ""
    for fold, color, dashes in (("train", VIOLET, "--"), ("validation", PINK, "-")):
        values = history[f"{fold}_{measure}"].to_numpy(dtype=float)
        shown = np.where(np.isfinite(values), values, np.nan)
        axes.plot(history["epoch"], shown, dashes, color=color, marker=marker, markersize=3, linewidth=1.6, label=fold)
    if level is not None:
        axes.axhline(level[1], color=INK, linestyle=":", linewidth=1.2, label=level[0])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    axes.margins(x=0.02)
    axes.set_xlabel("epoch", color=INK, fontsize=9)
    if _is_share(measure):
        _in_percent(axes.yaxis)
    if not any(_is_share(column.removeprefix("train_")) for column in history.columns):
        _steepen(axes, history[[f"train_{measure}", f"validation_{measure}"]].to_numpy(dtype=float))
    _legend(axes)
    return figure


def reliability(bins: pd.DataFrame, scaled: pd.DataFrame | None = None) -> Figure:
    """Draw accuracy over confidence, one point per bin, larger for more pictures.

    On the dashed line predictions are calibrated; below it they are overconfident.

    Args:
        bins: Of `lamina.maths.calibration.reliability`.
        scaled: The same after temperature scaling.
    """
    figure, axes = _figure("Reliability: accuracy by confidence" if scaled is None else "Accuracy by confidence")
    axes.plot([0, 1], [0, 1], "--", color=INK, linewidth=1)
    axes.plot(bins["confidence"], bins["accuracy"], color=VIOLET, linewidth=1.2, label="as predicted")
    if scaled is not None:
        axes.plot(
            scaled["confidence"], scaled["accuracy"], ":o", color=INK, markersize=4, linewidth=1.2, label="scaled"
        )
        _legend(axes)
    share = bins["pictures"] / bins["pictures"].sum()
    axes.scatter(bins["confidence"], bins["accuracy"], s=12 + 240 * share, color=PINK, edgecolors=PAPER, zorder=3)
    _in_percent(axes.xaxis, decimals=0)
    _in_percent(axes.yaxis, decimals=0)
    lowest = min(float(one["confidence"].min()) for one in (bins, scaled) if one is not None)
    axes.set_xlim(max(0.0, lowest - 0.05), 1.02)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("confidence: probability of the predicted class", color=INK, fontsize=9)
    return figure


def shares(
    title: str, labels: tuple[str, str], x: np.ndarray, mean: np.ndarray, single: np.ndarray | None = None
) -> Figure:
    """Draw a share over another one, in percent: the mean of the classes, and each class as a thin line.

    Args:
        title: Of the figure.
        labels: Of both axes; the title ends with that of the vertical one.
        x: (n,) shares.
        mean: (n,) shares over them.
        single: (classes, n) of each class.
    """
    figure, axes = _figure(f"{title}: {labels[1]}")
    for row in [] if single is None else single:
        axes.plot(x, row, color=INK, linewidth=0.6, alpha=0.6)
    axes.plot(x, mean, color=VIOLET, linewidth=1.8)
    _in_percent(axes.xaxis, decimals=0)
    _in_percent(axes.yaxis, decimals=None if np.max(mean) < 0.1 else 0)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(labels[0], color=INK, fontsize=9)
    return figure


def scatter(trials: pd.DataFrame, measure: str = "accuracy") -> Figure:
    """Draw the value of each trial over the first tuned number in which trials differ.

    The best is ringed; unfinished ones are hollow.

    Args:
        trials: Columns of `trials.csv`; trials without a finite value are left out.
        measure: Of the task.
    """
    valued = trials[np.isfinite(trials["value"].to_numpy(dtype=float))]
    numbers = number_columns(trials)
    number = next((name for name in numbers if valued[name].nunique() > 1), numbers[0])
    name = number.replace("_", " ")
    figure, axes = _figure(f"Trials: {TRIED[measure]} by {name}")
    done = _done(valued)
    for rows, face in ((valued[done], VIOLET), (valued[~done], PAPER)):
        axes.scatter(rows[number], rows["value"], s=26, facecolors=face, edgecolors=VIOLET, zorder=3)
    if done.any():
        best = (
            valued[done]
            .sort_values(["value", "number"], ascending=[not BY_NAME[measure].higher_is_better, True])
            .iloc[0]
        )
        axes.scatter([best[number]], [best["value"]], s=110, facecolors="none", edgecolors=PINK, linewidths=1.8)
    if is_logarithmic(valued[number]):
        axes.set_xscale("log")
        _decades(axes.xaxis, valued[number].max() / valued[number].min())
    _tried(axes, valued, measure)
    axes.set_xlabel(name, color=INK, fontsize=9)
    return figure


def trials_in_order(trials: pd.DataFrame, measure: str = "accuracy") -> Figure:
    """Draw the values of trials in order, and the best so far; unfinished trials are hollow.

    Args:
        trials: Columns `number`, `state` and `value`; trials without a finite value are left out. A pruned trial is
            drawn at its last value, and is never the best.
        measure: As in `scatter`.
    """
    valued = trials[np.isfinite(trials["value"].to_numpy(dtype=float))]
    figure, axes = _figure(f"Trials: {TRIED[measure]} in order")
    done = _done(valued)
    order = valued["number"] + 1
    values = valued["value"].where(done)
    best = (values.cummax() if BY_NAME[measure].higher_is_better else values.cummin()).ffill()
    axes.step(order, best, where="post", color=PINK, linewidth=1.6, label="best so far")
    for rows, face in ((done, VIOLET), (~done, PAPER)):
        axes.scatter(order[rows], valued["value"][rows], s=26, facecolors=face, edgecolors=VIOLET, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    _tried(axes, valued, measure)
    axes.set_xlabel("trial", color=INK, fontsize=9)
    _legend(axes)
    return figure


def predicted_over_true(target: np.ndarray, predicted: np.ndarray, margin: float | None = None) -> Figure:
    """Draw each predicted number over the true one; on the dashed line predictions are right.

    Args:
        target: (n,) true numbers.
        predicted: (n,).
        margin: between the dotted lines, predictions are at most so far off.
    """
    figure, axes = _figure("Predicted over true")
    ends = np.array([min(target.min(), predicted.min()), max(target.max(), predicted.max())])
    axes.plot(ends, ends, "--", color=INK, linewidth=1)
    for side in () if margin is None else (-margin, margin):
        axes.plot(ends, ends + side, ":", color=INK, linewidth=1)
    axes.scatter(target, predicted, s=12, color=VIOLET, alpha=0.5, linewidths=0)
    axes.set_xlabel("true", color=INK, fontsize=9)
    return figure


def residuals(target: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw how far off each prediction is, predicted minus true, over the true number."""
    figure, axes = _figure("Residuals: predicted minus true")
    axes.axhline(0, color=INK, linestyle="--", linewidth=1)
    axes.scatter(target, predicted - target, s=12, color=PINK, alpha=0.5, linewidths=0)
    axes.set_xlabel("true", color=INK, fontsize=9)
    return figure


def _is_share(measure: str) -> bool:
    return measure in BY_NAME and BY_NAME[measure].share


def _tried(axes: Axes, trials: pd.DataFrame, measure: str) -> None:
    if _is_share(measure):
        _in_percent(axes.yaxis)
    else:
        _steepen(axes, trials["value"].to_numpy(dtype=float))


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        borderaxespad=0.2,
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=0.9,
    )


def _done(trials: pd.DataFrame) -> "pd.Series[bool]":
    return trials["state"].astype(str).str.upper() == "COMPLETE"


class _ShareLocator(AutoLocator):
    """Ticks of a share: where an axis has room beyond 0 and 1, it stays empty."""

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [tick for tick in super().tick_values(vmin, vmax) if -1e-9 < tick < 1 + 1e-9]


def _in_percent(axis: Axis, *, decimals: int | None = None) -> None:
    axis.set_major_locator(_ShareLocator())
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=decimals, symbol=" %"))


def _steepen(axes: Axes, values: np.ndarray) -> None:
    """Make the vertical axis logarithmic if one bad epoch or trial would squeeze all others."""
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() > STEEP * finite.min():
        axes.set_yscale("log")
        _decades(axes.yaxis, finite.max() / finite.min())


def _decades(axis: Axis, ratio: float) -> None:
    axis.set_major_locator(LogLocator(subs=(1.0,) if np.log10(ratio) > 2 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def svg(figure: Figure, alt: str, salt: str) -> Markup:
    """Return a figure as SVG markup for the page, with text as text and the page's colors.

    The same figure and salt give the same bytes.

    Args:
        figure: To draw.
        alt: Text for readers who cannot see it.
        salt: Unique in the page: ids inside the figure derive from it.
    """
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        # `savefig` would draw the figure twice.
        FigureCanvasSVG(figure).print_svg(file)  # type: ignore[no-untyped-call]
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)
    drawn = re.sub(r"\n\s*", "\n", drawn)
    drawn = re.sub(r" font-family: [^;\"]*;", "", drawn)  # the page's own
    # a hundredth of a pixel is enough; text between tags, such as a learning rate of 0.001, keeps its digits
    drawn = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), drawn)
    for color, variable in PAGE_COLORS.items():
        drawn = drawn.replace(color, f"var({variable})")
    view = re.search(r'viewBox="[^"]*"', drawn)
    opening = f'<svg {view[0] if view else ""} role="img" aria-label="{escape(alt)}">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, drawn, count=1).strip())  # noqa: S704 - drawn here


def _figure(title: str) -> tuple[Figure, Axes]:
    # Fixed margins: matplotlib's automatic layout doubles the time of the stage.
    figure = Figure(figsize=SIZE, facecolor=PAPER)
    axes = figure.add_axes(PLACE, facecolor="none")
    axes.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold")
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color=LINE, labelcolor=INK, labelsize=9, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)
    return figure, axes
