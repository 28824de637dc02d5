"""How good a trained network predicts lightness from color, in pictures that it never learned from."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.rows import Folders, Rows, open_rows
from lamina.data.sheets import contact_sheet
from lamina.inputs.index import read_split
from lamina.inputs.lightness import lightness
from lamina.maths.color import RgbPixels, lab_to_srgb
from lamina.models.loading import load_model
from lamina.results.record import read_record
from lamina.tasks.lightness.results import LightnessScores, Metrics, judge_lightness, predict_lightness, summarise

SHOWN: Final = 10  # pictures in a row of the sheet
DRAWN_AT: Final = 60  # L at which color without lightness is drawn: sRGB holds most colors there


def evaluate(folders: Folders, models: Path) -> tuple[Metrics, pd.DataFrame, dict[str, Image.Image]]:
    """Evaluate a run's model on validation and test, next to the training mean L everywhere.

    See `lamina.tasks.task.Task.evaluate`.
    """
    mean = read_record(models).data["mean_lightness"]
    manifest = read_split(folders)
    model = load_model(models / "model.keras")
    scores: dict[str, LightnessScores] = {}
    for fold in ("validation", "test"):
        rows = manifest[manifest["fold"] == fold].sort_values("id", ignore_index=True)
        judged = rows[["id", "origin"]].join(judge_lightness(model, open_rows(rows, folders), mean))
        scores[fold] = LightnessScores.model_validate(summarise(judged))
    # of the fold that came last, test
    return Metrics(**scores), judged, {"lightness": _sheet(model, open_rows(rows, folders))}


def _sheet(model: Any, rows: Rows) -> Image.Image:
    """Some test pictures, always the same: color without lightness, the predicted lightness, the true one."""
    lab = rows.read_lab(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int))
    given = lab.copy()
    given[..., 0] = DRAWN_AT * 100
    three = [lab_to_srgb(given), _drawn(predict_lightness(model, lab)), _drawn(lightness(lab))]
    return contact_sheet([list(row) for row in three], ["given", "predicted", "true"])


def _drawn(light: np.ndarray) -> RgbPixels:
    """Lightness as grey pictures, (n, S, S, 3) uint8. light: (n, S, S, 1) L."""
    lab = np.zeros((*light.shape[:3], 3), np.int16)
    lab[..., 0] = np.rint(np.clip(light[..., 0], 0, 100) * 100)
    return lab_to_srgb(lab)
