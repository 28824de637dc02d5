"""Scores of predicted mean colors."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lamina.data.rows import Rows
from lamina.maths.means import mean_interval
from lamina.results.metrics import Metrics as BaseMetrics
from lamina.results.metrics import Scores


class MeanColorScores(Scores):
    """Scores of a fold: MSE of mean L, a and b, in squared CIELAB units."""

    measure: ClassVar[str] = "mse"

    mse: float


class Metrics(BaseMetrics):
    """What `metrics.json` holds."""

    test: MeanColorScores
    validation: MeanColorScores


def mean_rgb(rows: Rows) -> np.ndarray:
    """Return the mean color of pictures, (n, 3) float64 RGB from 0 to 1: what a run learns from."""
    return np.concatenate([rgb.mean(axis=(1, 2)) / 255 for rgb in rows.batches(64)])


def mean_lab(rows: Rows) -> np.ndarray:
    """Return the mean color of pictures, (n, 3) float64 CIELAB: what a run predicts."""
    return np.concatenate([lab.mean(axis=(1, 2)) / 100 for lab in rows.lab_batches(64)])


def judge(predicted: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    """Return each picture's `mse`."""
    return pd.DataFrame({"mse": np.square(predicted - true).mean(axis=1)})


def summarise(judged: pd.DataFrame) -> dict[str, Any]:
    """Return the scores of judged pictures (`origin`, `mse`)."""
    return {
        "n": len(judged),
        "origins": int(judged["origin"].nunique()),
        "mse": float(judged["mse"].mean()),
        "interval": [max(0.0, end) for end in mean_interval(judged["mse"], judged["origin"])],
    }
