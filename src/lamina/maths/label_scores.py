"""Scores of networks that give a picture any number of labels, each with an interval over origins."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.maths.further_scores import known_mean, percentile_interval, ranked_scores, resampled
from lamina.maths.means import mean_interval
from lamina.maths.scores import accuracy_interval

DEFAULT: Final = 0.5  # threshold of a label that the validation fold lacks
TRIED: Final = 64  # thresholds of each label
ROUNDS: Final = 10
ROUNDING: Final = 1e-12

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Flags = NDArray[np.bool_]


def find_thresholds(probabilities: Floats, truth: Flags) -> Floats:
    """Return, for each label, the threshold with which the mean F1 of the pictures' labels is highest.

    Each label in turn gets the best of up to `TRIED` thresholds while the others stay, until none changes: from 0.5,
    which stays where no other is better.

    Args:
        probabilities: (n, labels) of pictures that the network did not learn from.
        truth: (n, labels) which labels they have.

    Returns:
        (labels,); 0.5 for a label that no picture, or every picture, has.

    Source:
        I. Pillai, G. Fumera, F. Roli, Threshold optimisation for multi-label classifiers,
        Pattern Recognition 46 (2013) 2055.
    """
    thresholds = np.full(truth.shape[1], DEFAULT)
    for _ in range(ROUNDS):
        before = thresholds.copy()
        for at in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
            thresholds[at] = _best_threshold(probabilities, truth, thresholds, int(at))
        if (thresholds == before).all():
            break
    return thresholds


def _best_threshold(probabilities: Floats, truth: Flags, thresholds: Floats, at: int) -> float:
    named = probabilities >= thresholds
    named[:, at] = False
    both, count = (truth & named).sum(axis=1), truth.sum(axis=1) + named.sum(axis=1)
    score, has = probabilities[:, at], truth[:, at]
    levels = np.unique(np.quantile(np.unique(score), np.linspace(0, 1, TRIED), method="nearest"))
    tried = np.array([thresholds[at], *(levels[1:] + levels[:-1]) / 2])  # the present one first: of equal ones it stays
    given = score[:, None] >= tried
    hits, total = both[:, None] + (given & has[:, None]), count[:, None] + given
    means = np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0).mean(axis=0)
    return float(tried[np.argmax(means > means.max() - ROUNDING)])


def f1_of_each(truth: Flags, named: Flags) -> Floats:
    """Return F1 of the labels of each picture, (n,); 1 where it has none and gets none."""
    both, count = (truth & named).sum(axis=1), truth.sum(axis=1) + named.sum(axis=1)
    return np.asarray(np.where(count > 0, 2 * both / np.maximum(count, 1), 1.0), np.float64)


def share_interval(shares: ArrayLike, origin: ArrayLike) -> tuple[float, float]:
    """Compute the 95 % interval of a mean of shares, such as F1: that of `mean_interval`, cut to 0..1.

    Where all shares are 1, or all are 0, the jackknife sees no spread. That is no certainty: the interval is that of as
    many right, or wrong, answers (`accuracy_interval`).

    Args:
        shares: (n,) from 0 to 1.
        origin: (n,) origin of each picture.

    Returns:
        (low, high). With one origin (-inf, inf).
    """
    values = np.asarray(shares, np.float64)
    low, high = map(float, mean_interval(values, origin))
    if low == high and values[0] in (0, 1):
        return accuracy_interval(values == 1, origin)
    return (max(0.0, low), min(1.0, high)) if np.isfinite(low) else (low, high)


def label_scores(
    probabilities: ArrayLike,
    truth: ArrayLike,
    origin: ArrayLike,
    thresholds: ArrayLike,
    names: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the labels of one fold: its block of `metrics.json`.

    Args:
        probabilities: (n, labels).
        truth: (n, labels), whether a picture has a label.
        origin: (n,) origin of each picture.
        thresholds: (labels,): a picture gets a label from this probability on.
        names: of the labels.
        seed: of the bootstrap.

    Returns:
        `f1`, the mean over the pictures of the F1 of their labels, and its `interval`; `n`, `origins`; `per_label`, the
        scores of each label by itself; and `further`, the `value` and `interval` of

        - `mean_average_precision`: average precision, mean over the labels that occur; it needs no threshold;
        - `roc_auc`: area under the ROC curve, likewise;
        - `subset_accuracy`: share of pictures with exactly the right labels;
        - `label_accuracy`: share of right decisions, one for each label of each example (1 - Hamming loss);
        - `macro_f1`: F1 of each label over all pictures, mean over the labels that occur; `micro_f1`: F1 over all
          decisions together;
        - `majority_f1`: for comparison, the mean F1 if every picture gets the labels that at least half of them have.

        Intervals are 95 %: of means over pictures by the jackknife (`share_interval`) or Wilson's
        (`accuracy_interval`), of the others percentiles of a bootstrap over origins. None for one origin.
    """
    shares, true = np.asarray(probabilities, np.float64), np.asarray(truth, bool)
    named = shares >= np.asarray(thresholds)
    origins, group = np.unique(np.asarray(origin, dtype=object), return_inverse=True)
    each, exact, right = f1_of_each(true, named), (true == named).all(axis=1), (true == named).mean(axis=1)
    usual = np.broadcast_to(true.mean(axis=0) >= 0.5, true.shape)
    values = _rates(shares, true, named, group, np.ones((1, len(true))))
    samples = [_rates(shares, true, named, group, drawn) for drawn in resampled(group, true.shape[1], seed)]
    ranges = {name: np.concatenate([one[name] for one in samples]) for name in values}
    further = {
        name: {"value": float(value), "interval": _bootstrapped(float(value), ranges[name], len(origins))}
        for name, (value,) in values.items()
        if np.isfinite(value)
    }
    return {
        "f1": float(each.mean()),
        "interval": _finite(share_interval(each, origin)),
        "n": len(true),
        "origins": len(origins),
        "further": further
        | {
            "subset_accuracy": {"value": float(exact.mean()), "interval": list(accuracy_interval(exact, origin))},
            "label_accuracy": {"value": float(right.mean()), "interval": _finite(share_interval(right, origin))},
            "majority_f1": {"value": float(f1_of_each(true, usual).mean()), "interval": None},
        },
        "per_label": _per_label(shares, true, named, thresholds, names),
    }


def _rates(shares: Floats, true: Flags, named: Flags, group: Integers, weights: Floats) -> dict[str, Floats]:
    """Compute the scores that are no means over pictures, for (m, n) weights of the pictures."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ranked = np.array([ranked_scores(shares[:, at], true[:, at], group, weights) for at in range(true.shape[1])])
        both, count = weights @ (true & named), weights @ (true.astype(np.float64) + named)
        occurring = np.where(weights @ true > 0, 2 * both / count, np.nan)
        return {
            "mean_average_precision": known_mean(ranked[:, 1], axis=0),
            "roc_auc": known_mean(ranked[:, 0], axis=0),
            "macro_f1": known_mean(occurring, axis=1),
            "micro_f1": 2 * both.sum(axis=1) / count.sum(axis=1),
        }


def _per_label(
    shares: Floats, true: Flags, named: Flags, thresholds: ArrayLike, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    found = {}
    each, one = np.arange(len(true)), np.ones((1, len(true)))
    for at, (name, threshold) in enumerate(zip(names, np.asarray(thresholds, np.float64), strict=True)):
        hits, positives, given = (int(part[:, at].sum()) for part in (true & named, true, named))
        with np.errstate(divide="ignore", invalid="ignore"):
            area, precision = (float(value[0]) for value in ranked_scores(shares[:, at], true[:, at], each, one))
        found[name] = {
            "n": positives,
            "threshold": float(threshold),
            "average_precision": precision if np.isfinite(precision) else None,
            "roc_auc": area if np.isfinite(area) else None,
            "precision": hits / given if given else 0.0,
            "recall": hits / positives if positives else 0.0,
            "f1": 2 * hits / (positives + given) if positives + given else 0.0,
        }
    return found


def _bootstrapped(value: float, samples: Floats, origins: int) -> list[float] | None:
    """As `percentile_interval`; where no resample differs from 1, from Wilson's bound for perfect origins on."""
    ends = percentile_interval(value, samples, origins)
    return ends if ends != [1.0, 1.0] else [accuracy_interval(np.ones(origins), np.arange(origins))[0], 1.0]


def _finite(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if np.isfinite(interval).all() else None
