"""Calibration: whether 80 % of the pictures predicted with probability 0.8 are correct."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

BINS: Final = 15  # of equal width, as in C. Guo et al., ICML 2017
SAMPLES: Final = 1000

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


def calibration(probabilities: ArrayLike, label: ArrayLike, origin: ArrayLike, *, seed: int = 0) -> dict[str, Any]:
    """Measure the calibration of a classifier: `calibration` in a fold's block of `metrics.json`.

    Args:
        probabilities: (n, classes), rows with sum 1.
        label: (n,) column number of the true class.
        origin: (n,) origin of each picture.
        seed: of the bootstrap and of the resampling.

    Returns:
        The measures by name:

        - `ece`: expected calibration error, the mean difference of confidence and accuracy over `BINS` bins of
          confidence (C. Guo et al., ICML 2017), in [0, 1];
        - `interval`: its 95 % interval: bootstrap over origins, reflected about the estimate (B. Efron and R.
          Tibshirani, An Introduction to the Bootstrap, 1993, section 12). It is reflected because chance adds to the
          error of a resample about as much as to the estimate;
        - `by_chance`: the mean error of perfectly calibrated probabilities on the same number of independent pictures
          (consistency resampling: J. Broecker and L. A. Smith, Weather and Forecasting 22 (2007) 651). An `ece` near it
          is no sign of miscalibration;
        - `brier`: mean squared distance of probabilities and truth, summed over the classes, in [0, 2] (G. W. Brier,
          Monthly Weather Review 78 (1950) 1), lower is better;
        - `log_loss`: mean of -ln of the true class's probability (at least float32's epsilon), lower is better.

    Raises:
        ValueError: if there are no pictures, or if lengths differ.
    """
    predicted, truth, group = checked(probabilities, label, origin)
    confidence, hits = predicted.max(axis=1), predicted.argmax(axis=1) == truth
    bins = _bins(confidence)
    random = np.random.default_rng(seed)
    error = _error(_gaps(confidence, hits, bins), len(hits))
    resampled = _resampled(confidence, hits, bins, group, random)
    calibrated = (random.random(len(hits)) < confidence for _ in range(SAMPLES))
    chance = [_error(_gaps(confidence, right, bins), len(hits)) for right in calibrated]
    true_class = np.clip(predicted[np.arange(len(truth)), truth], np.finfo(np.float32).eps, 1)
    low, high = 2 * error - np.quantile(resampled, [0.975, 0.025])
    return {
        "ece": error,
        "interval": [float(np.clip(low, 0, error)), float(np.clip(high, error, 1))],
        "by_chance": float(np.mean(chance)),
        "brier": float(np.mean(np.sum((predicted - np.eye(predicted.shape[1])[truth]) ** 2, axis=1))),
        "log_loss": float(np.mean(-np.log(true_class))),
    }


def reliability(probabilities: ArrayLike, label: ArrayLike) -> pd.DataFrame:
    """Compute the table behind a reliability plot.

    Args:
        probabilities: see `calibration`.
        label: see `calibration`.

    Returns:
        A row for each bin that is not empty: `low`, `high` (its bounds), `pictures`, `confidence` and `accuracy`
            (means).
    """
    predicted, truth, _ = checked(probabilities, label, np.zeros(len(np.asarray(label))))
    table = pd.DataFrame({"confidence": predicted.max(axis=1), "accuracy": predicted.argmax(axis=1) == truth})
    bins = table.assign(accuracy=table["accuracy"].astype(float)).groupby(_bins(table["confidence"].to_numpy()))
    means = bins.mean().assign(pictures=bins.size())
    means = means.assign(low=means.index / BINS, high=(means.index + 1) / BINS).reset_index(drop=True)
    return means[["low", "high", "pictures", "confidence", "accuracy"]]


def checked(probabilities: ArrayLike, label: ArrayLike, origin: ArrayLike) -> tuple[Floats, Integers, Integers]:
    """Return probabilities, labels and the number of each origin as arrays; raises ValueError as `calibration`."""
    predicted, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(label, dtype=np.intp)
    origins = np.asarray(origin, dtype=object)
    if not len(predicted) == len(truth) == len(origins):
        found = f"{len(predicted)}, {len(truth)} and {len(origins)}"
        raise ValueError(f"expected as many probabilities as labels and origins, got {found}")
    if not len(predicted):
        raise ValueError("expected at least one picture, got none")
    return predicted, truth, np.unique(origins, return_inverse=True)[1]


def _bins(confidence: Floats) -> Integers:
    """Bin number, 0 to `BINS` - 1, of each confidence; a value on a bound belongs to the lower bin."""
    return np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)


def _gaps(confidence: Floats, hits: NDArray[np.bool_], bins: Integers) -> Floats:
    """(BINS,) sum of (correct - confidence) in each bin."""
    return np.bincount(bins, weights=hits - confidence, minlength=BINS).astype(np.float64)


def _error(gaps: Floats, pictures: int) -> float:
    """Expected calibration error, given the sums of `_gaps`."""
    return float(np.abs(gaps).sum()) / pictures


def _resampled(
    confidence: Floats, hits: NDArray[np.bool_], bins: Integers, group: Integers, random: np.random.Generator
) -> Floats:
    """(SAMPLES,) errors of bootstrap samples: as many origins as there are, drawn with replacement."""
    sizes = np.bincount(group)
    gaps = np.zeros((len(sizes), BINS))
    np.add.at(gaps, (group, bins), hits - confidence)
    draws = (random.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes))) for _ in range(SAMPLES))
    return np.array([_error(drawn @ gaps, int(drawn @ sizes)) for drawn in draws])
