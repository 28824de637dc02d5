"""How good a trained classifier is on rows that it never learned from."""

import io
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.rows import Folders, open_rows
from lamina.inputs.index import read_split
from lamina.maths.calibration import calibration
from lamina.maths.further_scores import further_scores
from lamina.maths.scores import score
from lamina.models.divided import Divided
from lamina.models.loading import load_model
from lamina.results.record import Record, read_record
from lamina.results.uncertainty import Uncertainty
from lamina.tasks.classify.results import PREDICTED
from lamina.tasks.classify.scores import JudgedScores, Metrics
from lamina.tasks.classify.uncertainty import (
    columns,
    judge_uncertainty,
    measure_uncertainty,
    predict_with_distances,
    write_uncertainty,
)
from lamina.tasks.columns import probability

SHOWN: Final = 8  # right predictions, and wrong ones, in the sheet
WORDS: Final = 20  # shown of each class
CLASSES: Final = 8
FREQUENT: Final = 2_000  # words that occur in most texts and are tried: the network predicts once for each
_INK, _BAR = "#4a4560", "#5b3fa8"


def evaluate(folders: Folders, models: Path) -> tuple[Metrics, pd.DataFrame, dict[str, Image.Image]]:
    """Evaluate a run's model on validation and test: pictures from pixels, texts from their words.

    Each prediction is joined to its label by the row's id. See `lamina.tasks.task.Task.evaluate`.
    """
    record = read_record(models)
    split, model, is_text = read_split(folders), load_model(models / "model.keras"), record.input.startswith("words/")
    manifest, reference = split[split["fold"].isin(["validation", "test"])], None
    if is_text:
        table, sheets = _words(model, manifest, folders, record)
    else:
        is_frozen = record.input.startswith("features/") and not record.settings.get("fine_tune")
        network, frozen = Divided(model), folders.of_input(record.input) if is_frozen else None
        shares, distance, reference = predict_with_distances(network, split, manifest, folders, frozen)
        table = predicted_rows(manifest.assign(distance=distance), shares, record.classes)
        sheets = {"looked_at": looked_at(network, table[table["fold"] == "test"], folders, record.classes)}
    test, validation = (table[table["fold"] == fold] for fold in ("test", "validation"))
    known = measure_uncertainty(validation, record.classes, record.key)
    write_uncertainty(models, known, validation, record.classes, reference)
    metrics = Metrics(test=judge(test, record.classes, known), validation=judge(validation, record.classes))
    return metrics, test[[*PREDICTED, *map(probability, record.classes)]], sheets


def judge(rows: pd.DataFrame, classes: list[str], known: Uncertainty | None = None) -> JudgedScores:
    """Return the scores of predicted rows.

    Args:
        rows: `label`, `predicted`, `origin`, a column of probabilities per class, and, for pictures, `distance`.
        classes: of the model.
        known: what is judged, too, if it was not measured on these rows.
    """
    shares, truth, origin = columns(rows, classes)
    scores = score(rows["label"], rows["predicted"], rows["origin"], classes)
    scores |= {"calibration": calibration(shares, truth, origin), "further": further_scores(shares, truth, origin)}
    return JudgedScores.model_validate(scores | (judge_uncertainty(rows, classes, known) if known else {}))


def looked_at(network: Divided, test: pd.DataFrame, folders: Folders, classes: list[str]) -> Image.Image:
    """Draw what the network looked at in some test pictures. test: of `predicted_rows`."""
    from lamina.models.saliency import explainer
    from lamina.tasks.classify.explain import answers_sheet, example_predictions

    chosen = example_predictions(test, classes, SHOWN)
    shown = open_rows(chosen, folders)
    return answers_sheet(explainer(network), chosen, shown.read(np.arange(len(shown))), classes)


def _words(
    model: Any, manifest: pd.DataFrame, folders: Folders, record: Record
) -> tuple[pd.DataFrame, dict[str, Image.Image]]:
    """The predictions from words, and a sheet of the words that count most for each class."""
    from lamina.inputs.word_examples import predict_words
    from lamina.inputs.words import read_matrix, read_vectorizer

    folder = folders.of_input(record.input)
    matrix = read_matrix(folder)[manifest.index.to_numpy()]  # rows of the matrix are those of the split
    table = predicted_rows(manifest, predict_words(model, matrix), record.classes)
    return table, {"words": words_sheet(model, matrix, read_vectorizer(folder).vocabulary, record.classes)}


def predicted_rows(manifest: pd.DataFrame, probabilities: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Join predictions to their rows, sorted by id: drawn intervals do not depend on the order then."""
    predicted = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
    table = manifest.reset_index(drop=True).join(pd.DataFrame(probabilities, columns=[*map(probability, classes)]))
    return table.assign(predicted=predicted).sort_values("id", ignore_index=True)


def words_sheet(model: Any, matrix: Any, vocabulary: Sequence[str], classes: Sequence[str]) -> Image.Image:
    """Draw, for each class, the frequent words that alone change its log-odds most, next to an empty text.

    Args:
        model: from (n, width) to (n, classes) probabilities.
        matrix: (n, width) sparse, texts from which the frequent words are taken.
        vocabulary: the word of each column.
        classes: names.
    """
    from matplotlib.figure import Figure
    from scipy.sparse import csr_matrix

    from lamina.charts.lettering import plain_text
    from lamina.inputs.word_examples import predict_words

    texts_with = np.bincount(matrix.indices, minlength=matrix.shape[1])
    columns = np.argsort(-texts_with, kind="stable")[:FREQUENT]
    # an empty text first, then a text of each word alone, with its mean value in the texts that hold it
    means = np.asarray(matrix.sum(axis=0)).ravel()[columns] / np.maximum(texts_with[columns], 1)
    alone = csr_matrix((means, (np.arange(1, len(columns) + 1), columns)), shape=(len(columns) + 1, matrix.shape[1]))
    probabilities = np.clip(predict_words(model, alone.astype(np.float32)), 1e-6, 1 - 1e-6)
    odds = np.log(probabilities / (1 - probabilities))
    change = odds[1:] - odds[0]
    shown = list(classes)[:CLASSES]
    best = [np.argsort(-change[:, place], kind="stable")[:WORDS] for place in range(len(shown))]
    words = [[vocabulary[columns[row]] for row in rows] for rows in best]
    figure = Figure(figsize=(3.2 * len(shown), 0.24 * WORDS + 0.8), layout="constrained", facecolor="white")
    file = io.BytesIO()
    with plain_text([*shown, *chain(*words)]) as text:
        for place, name in enumerate(shown):
            axes = figure.add_subplot(1, len(shown), place + 1)
            axes.barh(range(len(words[place])), change[best[place], place], color=_BAR)
            axes.set_yticks(range(len(words[place])), [text[word] for word in words[place]])
            axes.invert_yaxis()
            axes.set_title(text[name], loc="left", color=_INK, fontsize=10, fontweight="bold")
            axes.tick_params(labelsize=8, labelcolor=_INK)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    with Image.open(file) as drawn:
        return drawn.convert("RGB")
