"""Whether probabilities can be taken at their word: of pictures told with 80 %, 80 % should be right."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

BINS: Final = 15  # of equal width, as C. Guo et al., ICML 2017, have them
SAMPLES: Final = 1000

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


def calibration(probabilities: ArrayLike, label: ArrayLike, origin: ArrayLike, *, seed: int = 0) -> dict[str, Any]:
    """Measure how far probabilities are from what they promise: `calibration` in a fold's block of `metrics.json`.

    probabilities: (n, classes), rows summing to 1; label: (n,) the true class's column; origin: (n,).
    Returns
    - `ece`: expected calibration error, the mean gap between confidence and accuracy over `BINS` bins of confidence
      (C. Guo et al., ICML 2017), in [0, 1];
    - `interval`: its 95 % interval, bootstrapped over origins, reflected about the estimate (B. Efron and
      R. Tibshirani, An Introduction to the Bootstrap, 1993, section 12): the error of a resample is too high by about
      as much as the estimate itself, since chance alone opens gaps;
    - `by_chance`: the mean error that probabilities would show which keep their word, on as many independent pictures
      (consistency resampling: J. Broecker and L. A. Smith, Weather and Forecasting 22 (2007) 651). An error near
      it tells of no miscalibration;
    - `brier`: mean squared distance between probabilities and truth, summed over the classes, in [0, 2] (G. W. Brier,
      Monthly Weather Review 78 (1950) 1), and `log_loss`: the mean of -ln of the true class's probability, which is
      taken as at least float32's epsilon. Both reward right and calibrated answers alike; less is better.
    Raises ValueError for no pictures, or lengths that differ.
    """
    given, truth, group = _checked(probabilities, label, origin)
    confidence, hits = given.max(axis=1), given.argmax(axis=1) == truth
    place = _bins(confidence)
    random = np.random.default_rng(seed)
    error = _error(_gaps(confidence, hits, place), len(hits))
    again = _resampled(confidence, hits, place, group, random)
    kept = (random.random(len(hits)) < confidence for _ in range(SAMPLES))
    chance = [_error(_gaps(confidence, right, place), len(hits)) for right in kept]
    told = np.clip(given[np.arange(len(truth)), truth], np.finfo(np.float32).eps, 1)
    low, high = 2 * error - np.quantile(again, [0.975, 0.025])
    return {
        "ece": error,
        "interval": [float(np.clip(low, 0, error)), float(np.clip(high, error, 1))],
        "by_chance": float(np.mean(chance)),
        "brier": float(np.mean(np.sum((given - np.eye(given.shape[1])[truth]) ** 2, axis=1))),
        "log_loss": float(np.mean(-np.log(told))),
    }


def reliability(probabilities: ArrayLike, label: ArrayLike) -> pd.DataFrame:
    """What a reliability plot shows; arguments as in `calibration`.

    Returns a row for each bin that holds pictures: `low`, `high` (its bounds), `pictures`, `confidence` and `accuracy`
    (their means).
    """
    given, truth, _ = _checked(probabilities, label, np.zeros(len(np.asarray(label))))
    table = pd.DataFrame({"confidence": given.max(axis=1), "accuracy": given.argmax(axis=1) == truth})
    bins = table.assign(accuracy=table["accuracy"].astype(float)).groupby(_bins(table["confidence"].to_numpy()))
    found = bins.mean().assign(pictures=bins.size())
    found = found.assign(low=found.index / BINS, high=(found.index + 1) / BINS).reset_index(drop=True)
    return found[["low", "high", "pictures", "confidence", "accuracy"]]


def _checked(probabilities: ArrayLike, label: ArrayLike, origin: ArrayLike) -> tuple[Floats, Integers, Integers]:
    given, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(label, dtype=np.intp)
    origins = np.asarray(origin, dtype=object)
    if not len(given) == len(truth) == len(origins):
        found = f"{len(given)}, {len(truth)} and {len(origins)}"
        raise ValueError(f"expected as many probabilities as labels and origins, got {found}")
    if not len(given):
        raise ValueError("expected at least one picture, got none")
    return given, truth, np.unique(origins, return_inverse=True)[1]


def _bins(confidence: Floats) -> Integers:
    """Bin 0 to `BINS` - 1 of each confidence; a bound belongs to the bin below it."""
    return np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)


def _gaps(confidence: Floats, hits: NDArray[np.bool_], place: Integers) -> Floats:
    """(BINS,) sum of hits less confidences in each bin."""
    return np.bincount(place, weights=hits - confidence, minlength=BINS).astype(np.float64)


def _error(gaps: Floats, pictures: int) -> float:
    """Expected calibration error from (BINS,) summed gaps."""
    return float(np.abs(gaps).sum()) / pictures


def _resampled(
    confidence: Floats, hits: NDArray[np.bool_], place: Integers, group: Integers, random: np.random.Generator
) -> Floats:
    """(SAMPLES,) errors of as many origins, drawn with replacement."""
    sizes = np.bincount(group)
    gaps = np.zeros((len(sizes), BINS))
    np.add.at(gaps, (group, place), hits - confidence)
    times = (random.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes))) for _ in range(SAMPLES))
    return np.array([_error(drawn @ gaps, int(drawn @ sizes)) for drawn in times])
