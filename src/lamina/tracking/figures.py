"""The pictures that a run carries in MLflow."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lamina.charts.figures import curve
from lamina.tracking.records import TrackedRun

DPI = 120
MOST_CLASSES_NAMED = 30


def draw(files: TrackedRun, folder: Path) -> None:
    """Write the curves of loss and measure, the confusion matrix where there are classes, and the run's sheets.

    Args:
        files: of the run.
        folder: that the PNG files are written to.
    """
    run, figures = files.run, {}
    for measure in ("loss", files.task.measure):
        if {f"train_{measure}", f"validation_{measure}"} <= set(run.history.columns):
            figures[measure] = curve(run.history, measure)
    if {"label", "predicted"} <= set(run.predictions.columns):
        table = run.predictions
        figures["confusion"] = confusion(table["label"], table["predicted"], run.record.classes)
    for name, figure in figures.items():
        # the version of matplotlib is left out, so that the same figure is the same bytes
        figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
    for path in run.sheets.values():
        shutil.copyfile(path, folder / path.name)


def confusion(labels: "pd.Series[str]", predicted: "pd.Series[str]", classes: list[str]) -> Figure:
    """Draw how often each class (a row) was taken for each (a column): shares of the row as color, counts as text."""
    counts = pd.crosstab(labels, predicted).reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2 + 0.6 * len(classes), 3, 14))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Purples", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    if len(classes) <= MOST_CLASSES_NAMED:
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
        for (row, column), count in np.ndenumerate(counts):
            dark = shares[row, column] > 0.5
            axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    return figure
