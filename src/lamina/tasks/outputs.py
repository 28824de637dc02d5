"""What a saved network answers for pictures of the split, for the stage `evaluate`."""

from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Folders, open_rows
from lamina.models.inference import inference
from lamina.progress import progress

BATCH: Final = 256


def predict_rows(model: Any, rows: pd.DataFrame, folders: Folders) -> np.ndarray:
    """Return a network's outputs for rows of the split, (rows, units)."""
    predict, pictures = inference(model), open_rows(rows, folders)
    sizes = [min(BATCH, len(pictures) - start) for start in range(0, len(pictures), BATCH)]
    found = progress(map(predict, pictures.batches(BATCH)), what="evaluate", unit="pictures", sizes=sizes)
    return np.concatenate(list(found))
