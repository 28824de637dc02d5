"""How good a trained classifier is on rows that it never learned from."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Folders, open_rows
from lamina.files import staged
from lamina.inputs.index import read_split
from lamina.maths.calibration import calibration
from lamina.maths.scores import score
from lamina.models.loading import load_model
from lamina.models.saliency import Saliency
from lamina.progress import progress
from lamina.results.record import read_record
from lamina.tasks.classify.explain import answers_sheet, telling_examples
from lamina.tasks.classify.results import PREDICTED, ClassScores, Metrics

BATCH: Final = 256
SHOWN: Final = 8  # right predictions, and wrong ones, in the sheet


def evaluate(folders: Folders, models: Path) -> Metrics:
    """Evaluate a run's model on validation and test, from pixels.

    Writes `predictions.parquet` and `sheets/looked_at.png` to the run's folder (docs/files.md). Each prediction is joined
    to its label by the picture's id.
    """
    classes = read_record(models).classes
    manifest = read_split(folders)
    manifest = manifest[manifest["fold"].isin(["validation", "test"])].reset_index(drop=True)
    saliency = Saliency(load_model(models / "model.keras"))
    table = _predict(saliency, manifest, folders, classes)
    table = table.sort_values("id", ignore_index=True)  # drawn intervals do not depend on the order then
    test = table[table["fold"] == "test"]
    with staged(models / "predictions.parquet") as part:
        test[[*PREDICTED, *classes]].to_parquet(part, index=False)
    chosen = telling_examples(test, classes, SHOWN)
    rows = open_rows(chosen, folders)
    with staged(models / "sheets", folder=True) as part:
        answers_sheet(saliency, chosen, rows.read(np.arange(len(rows))), classes).save(part / "looked_at.png")
    return Metrics(**{str(fold): judge(rows, classes) for fold, rows in table.groupby("fold")})


def judge(rows: pd.DataFrame, classes: list[str]) -> ClassScores:
    """Return the scores of predicted rows: `label`, `predicted`, `origin` and a column of probabilities per class."""
    truth = pd.Categorical(rows["label"], categories=classes).codes
    scores = score(rows["label"], rows["predicted"], rows["origin"], classes)
    return ClassScores.model_validate(scores | {"calibration": calibration(rows[classes], truth, rows["origin"])})


def _predict(saliency: Any, manifest: pd.DataFrame, folders: Folders, classes: list[str]) -> pd.DataFrame:
    rows = open_rows(manifest, folders)
    sizes = [min(BATCH, len(rows) - start) for start in range(0, len(rows), BATCH)]
    found = progress(map(saliency.answers, rows.batches(BATCH)), what="evaluate", unit="pictures", sizes=sizes)
    table = pd.DataFrame(np.concatenate(list(found)), columns=classes)
    predicted = np.array(classes, dtype=object)[table[classes].to_numpy().argmax(axis=1)]
    return manifest.join(table).assign(predicted=predicted)
