"""The pictures that a run carries in MLflow."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lamina.charts.figures import MSE_OF_L, curve
from lamina.tracking.records import RunFiles

DPI = 120
MOST_CLASSES_NAMED = 30


def draw(files: RunFiles, folder: Path) -> None:
    """Write the curves `loss.png` and `accuracy.png` or `mse.png` into `folder`, and what else there is to see.

    That is `confusion.png` where there are test rows with classes, and the sheets that the run's stages drew.
    """
    figures = {}
    history = pd.DataFrame(files.history)
    titles = {"mse": MSE_OF_L} if files.record["kind"] == "pretext" else {}
    for measure in ("loss", files.measure):
        if {f"train_{measure}", f"validation_{measure}"} <= set(history.columns):
            figures[measure] = curve(history, measure, title=titles.get(measure))
    rows = files.folder / "confusion.csv"
    if rows.exists():
        told = pd.read_csv(rows, dtype=str, keep_default_na=False)
        figures["confusion"] = confusion(told["label"], told["predicted"], files.record["classes"])
    for name, figure in figures.items():
        # the version of matplotlib is left out, so that the same figure is the same bytes
        figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
    for sheet in files.sheets():
        shutil.copyfile(sheet, folder / sheet.name)


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
