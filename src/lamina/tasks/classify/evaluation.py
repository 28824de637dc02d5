"""How good a trained classifier is on rows that it never learned from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.rows import Folders, open_rows
from lamina.files import staged
from lamina.inputs.index import read_split
from lamina.maths.calibration import calibration
from lamina.maths.scores import score
from lamina.models.loading import load_model
from lamina.progress import progress
from lamina.results.record import Record, read_record
from lamina.tasks.classify.results import PREDICTED, ClassScores, Metrics

BATCH: Final = 256
SHOWN: Final = 8  # right predictions, and wrong ones, in the sheet


def evaluate(folders: Folders, models: Path) -> Metrics:
    """Evaluate a run's model on validation and test: pictures from pixels, texts from their words.

    Writes `predictions.parquet` and `sheets/` to the run's folder (docs/files.md). Each prediction is joined to its
    label by the row's id.
    """
    record = read_record(models)
    manifest = read_split(folders)
    manifest = manifest[manifest["fold"].isin(["validation", "test"])]
    judged = _words if record.input.startswith("words/") else _pictures
    table, sheets = judged(load_model(models / "model.keras"), manifest, folders, record)
    test = table[table["fold"] == "test"]
    with staged(models / "predictions.parquet") as part:
        test[[*PREDICTED, *record.classes]].to_parquet(part, index=False)
    with staged(models / "sheets", folder=True) as part:
        for name, sheet in sheets.items():
            sheet.save(part / f"{name}.png")
    return Metrics(**{str(fold): judge(rows, record.classes) for fold, rows in table.groupby("fold")})


def judge(rows: pd.DataFrame, classes: list[str]) -> ClassScores:
    """Return the scores of predicted rows: `label`, `predicted`, `origin` and a column of probabilities per class."""
    truth = pd.Categorical(rows["label"], categories=classes).codes
    scores = score(rows["label"], rows["predicted"], rows["origin"], classes)
    return ClassScores.model_validate(scores | {"calibration": calibration(rows[classes], truth, rows["origin"])})


def _pictures(
    model: Any, manifest: pd.DataFrame, folders: Folders, record: Record
) -> tuple[pd.DataFrame, Mapping[str, Image.Image]]:
    """The predictions from pixels, and a sheet of what the network looked at."""
    from lamina.models.saliency import Saliency
    from lamina.tasks.classify.explain import answers_sheet, example_predictions

    saliency, rows = Saliency(model), open_rows(manifest, folders)
    sizes = [min(BATCH, len(rows) - start) for start in range(0, len(rows), BATCH)]
    found = progress(map(saliency.answers, rows.batches(BATCH)), what="evaluate", unit="pictures", sizes=sizes)
    table = predicted_rows(manifest, np.concatenate(list(found)), record.classes)
    chosen = example_predictions(table[table["fold"] == "test"], record.classes, SHOWN)
    shown = open_rows(chosen, folders)
    sheet = answers_sheet(saliency, chosen, shown.read(np.arange(len(shown))), record.classes)
    return table, {"looked_at": sheet}


def _words(
    model: Any, manifest: pd.DataFrame, folders: Folders, record: Record
) -> tuple[pd.DataFrame, Mapping[str, Image.Image]]:
    """The predictions from words, and a sheet of the words that count most for each class."""
    from lamina.inputs.word_examples import predict_words
    from lamina.inputs.words import read_matrix, read_vectorizer
    from lamina.tasks.classify.words_sheet import words_sheet

    folder = folders.of_input(record.input)
    matrix = read_matrix(folder)[manifest.index.to_numpy()]  # rows of the matrix are those of the split
    table = predicted_rows(manifest, predict_words(model, matrix), record.classes)
    return table, {"words": words_sheet(model, matrix, read_vectorizer(folder).vocabulary, record.classes)}


def predicted_rows(manifest: pd.DataFrame, probabilities: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Join predictions to their rows, sorted by id: drawn intervals do not depend on the order then."""
    table = manifest.reset_index(drop=True).join(pd.DataFrame(probabilities, columns=classes))
    predicted = np.array(classes, dtype=object)[table[classes].to_numpy().argmax(axis=1)]
    return table.assign(predicted=predicted).sort_values("id", ignore_index=True)
