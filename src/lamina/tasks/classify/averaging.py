"""The mean of the probabilities that several classifiers predict for the same rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lamina.maths.scores import score
from lamina.tasks.columns import probability


def average(tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> pd.DataFrame:
    """Average probabilities; see `lamina.tasks.task.Task.average`.

    Returns:
        `id`, `origin`, `fold`, `label`, `predicted`, and a column of mean probabilities per class.
    """
    columns = [*map(probability, classes)]
    mean = np.mean([table[columns].to_numpy() for table in tables], axis=0)
    predicted = np.array(classes, dtype=object)[mean.argmax(axis=1)]
    known = tables[0][["id", "origin", "fold", "label"]].reset_index(drop=True)
    return known.assign(predicted=predicted).join(pd.DataFrame(mean, columns=columns))


def summarise(rows: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """Return the scores of predicted rows, as of a cross-validation."""
    return score(rows["label"], rows["predicted"], rows["origin"], list(classes))
