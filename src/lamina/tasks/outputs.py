"""What a saved network answers for pictures or texts of the split, for the stage `evaluate`."""

from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Folders, open_rows
from lamina.models.inference import inference
from lamina.progress import progress

BATCH: Final = 256


def predict_rows(model: Any, rows: pd.DataFrame, folders: Folders, kind: str) -> np.ndarray:
    """Return a network's outputs for rows of the split, (rows, units).

    Args:
        model: a Keras model.
        rows: of the split, whose index is the place in it.
        folders: where the data lie.
        kind: the input of the run, as `pixels` or `words/NAME`.
    """
    if kind.startswith("words/"):
        from lamina.inputs.word_examples import predict_words
        from lamina.inputs.words import read_matrix

        return predict_words(model, read_matrix(folders.of_input(kind))[rows.index.to_numpy()])
    predict, pictures = inference(model), open_rows(rows, folders)
    sizes = [min(BATCH, len(pictures) - start) for start in range(0, len(pictures), BATCH)]
    found = progress(map(predict, pictures.batches(BATCH)), what="evaluate", unit="pictures", sizes=sizes)
    return np.concatenate(list(found))
