"""Which words count most for each class, as a picture."""

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lamina.inputs.word_examples import predict_words

SHOWN: Final = 20  # words of each class
CLASSES: Final = 8
FREQUENT: Final = 2_000  # words that occur in most texts and are tried: the network predicts once for each
_INK, _BAR = "#4a4560", "#5b3fa8"


def words_sheet(model: Any, matrix: Any, vocabulary: Sequence[str], classes: Sequence[str]) -> Image.Image:
    """Draw, for each class, the frequent words that alone change its log-odds most, next to an empty text.

    Args:
        model: from (n, width) to (n, classes) probabilities.
        matrix: (n, width) sparse, texts from which the frequent words are taken.
        vocabulary: the word of each column.
        classes: names.
    """
    from scipy.sparse import csr_matrix

    texts_with = np.bincount(matrix.indices, minlength=matrix.shape[1])
    columns = np.argsort(-texts_with, kind="stable")[:FREQUENT]
    # an empty text first, then a text of each word alone, with its mean value in the texts that hold it
    means = np.asarray(matrix.sum(axis=0)).ravel()[columns] / np.maximum(texts_with[columns], 1)
    alone = csr_matrix((means, (np.arange(1, len(columns) + 1), columns)), shape=(len(columns) + 1, matrix.shape[1]))
    probabilities = np.clip(predict_words(model, alone.astype(np.float32)), 1e-6, 1 - 1e-6)
    odds = np.log(probabilities / (1 - probabilities))
    change = odds[1:] - odds[0]
    shown = list(classes)[:CLASSES]
    figure = Figure(figsize=(3.2 * len(shown), 0.24 * SHOWN + 0.8), layout="constrained", facecolor="white")
    for place, name in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), place + 1)
        best = np.argsort(-change[:, place], kind="stable")[:SHOWN]
        axes.barh([vocabulary[columns[row]] for row in best], change[best, place], color=_BAR)
        axes.invert_yaxis()
        axes.set_title(name, loc="left", color=_INK, fontsize=10, fontweight="bold")
        axes.tick_params(labelsize=8, labelcolor=_INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    with Image.open(file) as drawn:
        return drawn.convert("RGB")
