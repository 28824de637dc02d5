"""How good a trained network predicts the mean colors of pictures that it never learned from."""

from pathlib import Path

import numpy as np
import pandas as pd
from lamina.tasks.mean_color.results import MeanColorScores, Metrics, judge, mean_lab, summarise
from PIL import Image

from lamina.data.rows import Folders, open_rows
from lamina.inputs.index import read_split
from lamina.maths.color import lab_to_srgb
from lamina.models.loading import load_model

PATCH = 24  # side of a patch on the sheet, in pixels


def evaluate(folders: Folders, models: Path) -> tuple[Metrics, pd.DataFrame, dict[str, Image.Image]]:
    """Evaluate a run's model on validation and test; see `lamina.tasks.task.Task.evaluate`."""
    manifest, model = read_split(folders), load_model(models / "model.keras")
    scores: dict[str, MeanColorScores] = {}
    for fold in ("validation", "test"):
        chosen = manifest[manifest["fold"] == fold].sort_values("id", ignore_index=True)
        rows = open_rows(chosen, folders)
        predicted = np.concatenate([model.predict_on_batch(rgb.astype(np.float32)) for rgb in rows.batches(64)])
        judged = chosen[["id", "origin"]].join(judge(predicted, mean_lab(rows)))
        scores[fold] = MeanColorScores.model_validate(summarise(judged))
    patches = lab_to_srgb(np.rint(np.stack([predicted, mean_lab(rows)]) * 100).astype(np.int16))
    sheet = Image.fromarray(patches.repeat(PATCH, axis=0).repeat(PATCH, axis=1))
    return Metrics(**scores), judged, {"colors": sheet}  # of the fold that came last, test
