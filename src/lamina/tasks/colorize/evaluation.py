"""How good a trained colorizer is on pictures that it never learned from."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.rows import Folders, Rows, open_rows
from lamina.data.sheets import contact_sheet
from lamina.inputs.index import read_split
from lamina.inputs.lightness import lightness
from lamina.maths.bins import count_bins
from lamina.maths.color import lab_to_srgb
from lamina.maths.color_scores import rare_weights, score_pictures
from lamina.models.loading import load_model
from lamina.prefetch import prefetch
from lamina.progress import progress
from lamina.results.record import read_record
from lamina.tasks.colorize.network import colorizer_of
from lamina.tasks.colorize.progress_sheet import colored, evenly_chosen
from lamina.tasks.colorize.results import ColorScores, Metrics, summarise

BATCH: Final = 64
SHOWN: Final = 10  # pictures in a row of a sheet


def evaluate(folders: Folders, models: Path) -> tuple[Metrics, pd.DataFrame, dict[str, Image.Image]]:
    """Evaluate a run's model on validation and test, next to two baselines: grey, and the training mean color.

    See `lamina.tasks.task.Task.evaluate`.
    """
    mean_color = read_record(models).data["mean_color"]
    manifest = read_split(folders)
    model = colorizer_of(load_model(models / "model.keras"))
    rows = {fold: manifest[manifest["fold"] == fold].sort_values("id") for fold in ("validation", "test")}
    tables = {fold: _judge(model, of_fold, folders, mean_color) for fold, of_fold in rows.items()}
    test, pictures = tables["test"], open_rows(rows["test"], folders)
    some = _three(model, evenly_chosen(pictures, SHOWN))  # always the same
    colors = contact_sheet(some, ["grey", "predicted", "true"])
    metrics = Metrics(**{fold: ColorScores.model_validate(summarise(table)) for fold, table in tables.items()})
    return metrics, test, {"colors": colors, "extremes": _extremes_sheet(model, pictures, test)}


def _judge(model: Any, manifest: pd.DataFrame, folders: Folders, mean_color: list[float]) -> pd.DataFrame:
    """The measures of a fold's pictures, after `id` and `origin`."""
    rows = open_rows(manifest, folders)
    rare = rare_weights(np.sum([count_bins(lab[..., 1:] / np.float32(100)) for lab in rows.lab_batches(BATCH)], axis=0))
    sizes = [min(BATCH, len(rows) - start) for start in range(0, len(rows), BATCH)]
    scored = (score_pictures(lab, _predict(model, lab), mean_color, rare) for lab in prefetch(rows.lab_batches(BATCH)))
    tables = list(progress(scored, what="evaluate", unit="pictures", sizes=sizes))
    return manifest[["id", "origin"]].reset_index(drop=True).join(pd.concat(tables, ignore_index=True))


def _predict(model: Any, lab: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_on_batch(lightness(lab)))


def _extremes_sheet(model: Any, rows: Rows, table: pd.DataFrame) -> Image.Image:
    """The test pictures whose colors are nearest to the true ones, and farthest, by CIEDE2000."""
    order = table["ciede2000"].to_numpy().argsort(kind="stable")
    chosen = {"nearest": order[:SHOWN], "farthest": order[::-1][:SHOWN]}
    pictures, names, captions = [], [], []
    for which, places in chosen.items():
        pictures += _three(model, rows.read_lab(places))
        names += [which, "predicted", "true"]
        captions += [[""] * len(places), [f"{table['ciede2000'].iloc[place]:.1f}" for place in places]]
        captions.append([""] * len(places))
    return contact_sheet(pictures, names, captions)


def _three(model: Any, lab: np.ndarray) -> list[list[np.ndarray]]:
    """Pictures without color, with the predicted one, and with the true one."""
    grey = colored(lab, np.zeros((*lab.shape[:3], 2), np.float32))
    return [list(grey), list(colored(lab, _predict(model, lab))), list(lab_to_srgb(lab))]
