"""What the stages write about a run that learns lightness, and how its predictions are scored."""

from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Rows
from lamina.inputs.lightness import lightness
from lamina.maths.color import lab_to_srgb
from lamina.maths.means import mean_interval
from lamina.prefetch import prefetch
from lamina.progress import progress
from lamina.results.metrics import Metrics as BaseMetrics
from lamina.results.metrics import Scores

BATCH: Final = 64


class LightnessScores(Scores):
    """Scores of a fold: MSE of L, in squared units of L. baseline: that of the training mean L everywhere."""

    measure: ClassVar[str] = "mse"

    mse: float
    baseline: float

    @property
    def gone(self) -> float | None:
        """The share of the baseline's MSE that is gone, at most 1; None where the baseline is already right."""
        return 1 - self.mse / self.baseline if self.baseline else None


class Metrics(BaseMetrics):
    """What `metrics.json` holds."""

    test: LightnessScores
    validation: LightnessScores


def judge_lightness(model: Any, rows: Rows, mean: float) -> pd.DataFrame:
    """Return each picture's `mse`, and `mean_mse` of the training mean everywhere, in squared units of L.

    Args:
        model: from (n, S, S, 3) RGB 0..255 to (n, S, S, 1) L.
        rows: the pictures.
        mean: of L, over the training pictures.
    """
    sizes = [min(BATCH, len(rows) - start) for start in range(0, len(rows), BATCH)]
    tables = (
        _errors(predict_lightness(model, lab), lightness(lab).astype(np.float64), mean)
        for lab in prefetch(rows.lab_batches(BATCH))
    )
    return pd.concat(progress(tables, what="evaluate", unit="pictures", sizes=sizes), ignore_index=True)


def predict_lightness(model: Any, lab: np.ndarray) -> np.ndarray:
    """Return a model's L, (n, S, S, 1), for pictures (n, S, S, 3) int16 CIELAB x 100."""
    return np.asarray(model.predict_on_batch(lab_to_srgb(lab).astype(np.float32)))


def summarise(judged: pd.DataFrame) -> dict[str, Any]:
    """Return the scores of judged pictures (`origin`, `mse`, `mean_mse`)."""
    interval = mean_interval(judged["mse"], judged["origin"])
    return {
        "n": len(judged),
        "origins": int(judged["origin"].nunique()),
        "mse": float(judged["mse"].mean()),
        "interval": [max(0.0, bound) for bound in interval] if np.isfinite(interval).all() else None,
        "baseline": float(judged["mean_mse"].mean()),
    }


def _errors(predicted: np.ndarray, true: np.ndarray, mean: float) -> pd.DataFrame:
    answers = {"mse": predicted, "mean_mse": mean}
    return pd.DataFrame({name: np.square(found - true).mean(axis=(1, 2, 3)) for name, found in answers.items()})
