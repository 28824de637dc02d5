"""Scores of predicted numbers, each with an interval over origins."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.maths.conformal import COVERAGE, limit
from lamina.maths.further_scores import percentile_interval, resampled
from lamina.maths.means import mean_interval
from lamina.maths.scores import accuracy_interval

Floats = NDArray[np.float64]
SCORES: Final = 4  # of the bootstrap, by which it has fewer samples
ROUNDING: Final = 1e-12


def find_margin(target: ArrayLike, predicted: ArrayLike, origin: ArrayLike, coverage: float = COVERAGE) -> float:
    """Return how far the number of a picture of a new origin lies from its prediction, with a probability, at most.

    Args:
        target: (n,) true numbers of pictures that the network did not learn from.
        predicted: (n,).
        origin: (n,) origin of each picture.
        coverage: the probability.

    Returns:
        In units of the target; infinity for too few origins (`lamina.maths.conformal.origins_needed`).

    Source:
        Split conformal prediction with absolute residuals (J. Lei et al., JASA 113 (2018) 1094), in which each origin
        weighs as one picture (`lamina.maths.conformal`).
    """
    return limit(np.abs(np.asarray(target, np.float64) - np.asarray(predicted, np.float64)), origin, coverage)


def number_scores(
    target: ArrayLike, predicted: ArrayLike, origin: ArrayLike, mean: float, *, seed: int = 0
) -> dict[str, Any]:
    """Score the predictions of one fold: its block of `metrics.json`.

    Args:
        target: (n,) true numbers.
        predicted: (n,).
        origin: (n,) origin of each picture.
        mean: of the training pictures, which the baseline always predicts.
        seed: of the bootstrap.

    Returns:
        `mae`, the mean absolute error, and its `interval`; `n`, `origins`; `baseline`, the MAE of `mean`; and
        `further`, the `value` and `interval` of

        - `rmse`: root of the mean squared error, in units of the target like the MAE;
        - `r2`: share of the squared deviations from the mean of these targets that is gone; below 0: worse than it;
        - `spearman`: correlation of the ranks (C. Spearman, 1904);
        - `bias`: mean of prediction minus target.

        Intervals are 95 %: of means by the jackknife (`mean_interval`), of the others percentiles of a bootstrap over
        origins. None for one origin. A score that cannot be computed, as of equal targets, is left out.
    """
    true, found = np.asarray(target, np.float64), np.asarray(predicted, np.float64)
    names, group = np.unique(np.asarray(origin, dtype=object), return_inverse=True)
    errors = np.abs(true - found)
    interval = mean_interval(errors, origin)
    values = _rates(true, found, np.ones((1, len(true))))
    samples = [_rates(true, found, drawn) for drawn in resampled(group, SCORES, seed)]
    ranges = {name: np.concatenate([one[name] for one in samples]) for name in values}
    further = {
        name: {"value": float(value), "interval": percentile_interval(float(value), ranges[name], len(names))}
        for name, (value,) in values.items()
        if np.isfinite(value)
    }
    bias = mean_interval(found - true, origin)
    further["bias"] = {"value": float((found - true).mean()), "interval": list(bias) if len(names) > 1 else None}
    return {
        "mae": float(errors.mean()),
        "interval": [max(0.0, interval[0]), interval[1]] if len(names) > 1 else None,
        "n": len(true),
        "origins": len(names),
        "baseline": float(np.abs(true - mean).mean()),
        "further": further,
    }


def score_margin(
    target: ArrayLike, predicted: ArrayLike, origin: ArrayLike, margin: float, coverage: float
) -> dict[str, Any]:
    """Check a margin of `find_margin` on other pictures: how many numbers lie within it.

    Returns:
        `wanted`; `coverage` and its `interval`; `margin`, None if it is infinite.
    """
    held = np.abs(np.asarray(target, np.float64) - np.asarray(predicted, np.float64)) <= margin
    return {
        "wanted": coverage,
        "coverage": float(held.mean()),
        "interval": list(accuracy_interval(held, origin)),
        "margin": margin if math.isfinite(margin) else None,
    }


def _rates(true: Floats, found: Floats, weights: Floats) -> dict[str, Floats]:
    """Compute the scores that are no means over pictures, for (m, n) weights of the pictures; (m,) each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights.sum(axis=1)
        squares = weights @ np.square(true - found)
        centered = true - true.mean()  # without it, the spread of large numbers is lost in rounding
        spread = weights @ np.square(centered) - np.square(weights @ centered) / total
        return {
            "rmse": np.sqrt(squares / total),
            "r2": np.where(spread > ROUNDING * (weights @ np.square(centered)), 1 - squares / spread, np.nan),
            "spearman": _spearman(true, found, weights),
        }


def _spearman(true: Floats, found: Floats, weights: Floats) -> Floats:
    """Correlation of the ranks within each weighted sample; equal values share their mean rank."""
    first, second = (_ranks(values, weights) for values in (true, found))
    total = weights.sum(axis=1, keepdims=True)
    first, second = (rank - (weights * rank).sum(axis=1, keepdims=True) / total for rank in (first, second))
    both, one, other = ((weights * part).sum(axis=1) for part in (first * second, first**2, second**2))
    return np.asarray(np.where((one > 0) & (other > 0), both / np.sqrt(one * other), np.nan), np.float64)


def _ranks(values: Floats, weights: Floats) -> Floats:
    """(m, n) ranks of (n,) values where each counts as often as its weight."""
    levels, place = np.unique(values, return_inverse=True)
    counts = np.stack([np.bincount(place, weights=row, minlength=len(levels)) for row in weights])
    return np.asarray((counts.cumsum(axis=1) - (counts - 1) / 2)[:, place], np.float64)
