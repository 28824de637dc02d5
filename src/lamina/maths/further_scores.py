"""Further scores of classifiers, each with an interval over origins: how well they rank, and how far beyond chance."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.maths.calibration import checked
from lamina.maths.scores import accuracy_interval

SAMPLES: Final = (100, 1000)  # of the bootstrap: least, for many pictures of many classes, and most
WORK: Final = 20_000_000  # pictures x classes x samples from which on there are fewer samples
CELLS: Final = 4_000_000  # numbers that are held at once: weights of all pictures, or confusions

# worst and best value of each score
RANGES: Final = {
    "roc_auc": (0.0, 1.0),
    "average_precision": (0.0, 1.0),
    "balanced_accuracy": (0.0, 1.0),
    "kappa": (-1.0, 1.0),
    "matthews": (-1.0, 1.0),
    "aurc": (1.0, 0.0),
}

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Estimates = dict[str, dict[str, Any]]


def further_scores(probabilities: ArrayLike, label: ArrayLike, origin: ArrayLike, *, seed: int = 0) -> Estimates:
    """Compute scores in addition to the accuracy: `further` in a fold's block of `metrics.json`.

    Args:
        probabilities: (n, classes), rows with sum 1; the prediction is the most probable class.
        label: (n,) column number of the true class.
        origin: (n,) origin of each picture.
        seed: of the bootstrap.

    Returns:
        The `value` and the `interval` of each score; without those that cannot be computed, as of a single class:

        - `roc_auc`: area under the ROC curve, each class against the rest, mean over the classes that occur: the
          probability that a picture of the class gets a higher probability of it than another one (J. A. Hanley and
          B. J. McNeil, Radiology 143 (1982) 29);
        - `average_precision`: mean precision over the recalls, each class against the rest, likewise;
        - `balanced_accuracy`: mean recall of the classes that occur;
        - `kappa`: agreement beyond chance (J. Cohen, Educational and Psychological Measurement 20 (1960) 37);
        - `matthews`: correlation of labels and predictions (J. Gorodkin, Computational Biology and Chemistry 28 (2004)
          367); 0 where all labels or all predictions are equal;
        - `aurc`: area under the risk-coverage curve: the mean error rate of the most confident answers, over all shares
          that may be answered; lower is better (Y. Geifman, G. Uziel and R. El-Yaniv, ICLR 2019).

        Intervals are 95 % percentiles of a bootstrap over origins (B. Efron and R. Tibshirani, 1993, chapter 13). Where
        no resample differs from a perfect score, the other end is that of Wilson's interval for as many perfect
        origins. None for one origin.

    Raises:
        ValueError: if there are no pictures, or if lengths differ.
    """
    predicted, truth, group = checked(probabilities, label, origin)
    origins = int(group.max()) + 1
    values = _measured(predicted, truth, group, np.ones((1, len(truth))))
    samples = [_measured(predicted, truth, group, drawn) for drawn in resampled(group, predicted.shape[1], seed)]
    return {
        name: {
            "value": float(value),
            "interval": _interval(name, float(value), np.concatenate([one[name] for one in samples]), origins),
        }
        for name, (value,) in values.items()
        if np.isfinite(value)
    }


def risk_coverage(probabilities: ArrayLike, label: ArrayLike) -> tuple[Floats, Floats]:
    """Compute the curve of the error rate (risk) over the share of answers that are given, the most confident first.

    Returns:
        (m,) shares from 0 (excluded) to 1, and (m,) error rates. Answers of equal confidence are given together.
    """
    predicted, truth, _ = checked(probabilities, label, np.zeros(len(np.asarray(label))))
    given, wrong = _by_confidence(predicted, truth, np.ones((1, len(truth))))
    return given[0] / len(truth), wrong[0] / given[0]


def resampled(group: Integers, classes: int, seed: int) -> Iterator[Floats]:
    """Yield (m, n) weights of the pictures in bootstrap samples: how often the origin of each was drawn.

    Args:
        group: (n,) number of each picture's origin.
        classes: number of scores of a picture; with more of them there are fewer samples.
        seed: of the samples.
    """
    random, origins = np.random.default_rng(seed), int(group.max()) + 1
    samples = int(np.clip(WORK // (len(group) * classes), *SAMPLES))
    at_once = max(1, CELLS // max(len(group), classes**2))
    for start in range(0, samples, at_once):
        drawn = random.multinomial(origins, np.full(origins, 1 / origins), size=min(at_once, samples - start))
        yield drawn[:, group].astype(np.float64)


def percentile_interval(value: float, samples: Floats, origins: int) -> list[float] | None:
    """Return the 95 % interval of a score from its bootstrap samples; None for one origin.

    It includes the value. Samples that are not a number are left out.
    """
    if origins == 1 or not np.isfinite(samples).any():
        return None
    ends = [value, *map(float, np.nanquantile(samples, [0.025, 0.975]))]
    return [min(ends), max(ends)]


def _interval(name: str, value: float, samples: Floats, origins: int) -> list[float] | None:
    ends = percentile_interval(value, samples, origins)
    worst, best = RANGES[name]
    if ends != [best, best]:
        return ends
    perfect = best + (worst - best) * (1 - accuracy_interval(np.ones(origins), np.arange(origins))[0])
    return sorted([best, perfect])


def _measured(predicted: Floats, truth: Integers, group: Integers, weights: Floats) -> dict[str, Floats]:
    """Compute all scores for (m, n) weights of the pictures; (m,) each, not a number where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ranked = np.array(
            [ranked_scores(predicted[:, place], truth == place, group, weights) for place in range(predicted.shape[1])]
        )
        given, wrong = _by_confidence(predicted, truth, weights)
        steps = np.diff(given, axis=1, prepend=0)
        risk = np.where(steps > 0, wrong / np.maximum(given, 1), 0)
        aurc = (steps * risk).sum(axis=1) / given[:, -1]
        curves = {"roc_auc": known_mean(ranked[:, 0], axis=0), "average_precision": known_mean(ranked[:, 1], axis=0)}
        return curves | _agreement(predicted.argmax(axis=1), truth, weights, predicted.shape[1]) | {"aurc": aurc}


def ranked_scores(
    score: Floats, positive: NDArray[np.bool_], group: Integers, weights: Floats
) -> tuple[Floats, Floats]:
    """Compute the area under the ROC curve and the average precision of one class against the rest.

    The precision at a picture of the class is that of all pictures with as high a score: of its own origin once, of
    others by their weights. Where a resample draws an origin twice, it would else find each picture next to a copy of
    itself, and its precision would be too high: the more so, the fewer pictures a class has.

    Args:
        score: (n,) of the class, 0 or more.
        positive: (n,) whether a picture is of the class.
        group: (n,) number of each picture's origin.
        weights: (m, n) of the pictures, the same for all of an origin.

    Returns:
        (m,) each; not a number without pictures of the class or of the rest.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-1))  # of pictures with the same probability
    hits = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    misses = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    positives, negatives = hits.sum(axis=1), misses.sum(axis=1)
    below = misses.cumsum(axis=1) - misses / 2
    level = np.empty(len(order), np.intp)
    level[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    found, named = (part[:, ::-1].cumsum(axis=1)[:, ::-1][:, level[positive]] for part in (hits, hits + misses))
    again = weights[:, positive] - 1  # how often its origin was drawn once more
    found -= again * _as_high(level, group, positive, positive)
    named -= again * _as_high(level, group, positive, np.ones_like(positive))
    both = np.where(negatives > 0, positives, np.nan)  # without the rest, no class is easy or hard to find
    precision = (found / named * weights[:, positive]).sum(axis=1) / both
    return (below * hits).sum(axis=1) / (positives * negatives), precision


def _as_high(level: Integers, group: Integers, some: NDArray[np.bool_], others: NDArray[np.bool_]) -> Integers:
    """Count, for each of some pictures, those among `others` of its origin, itself included, whose level is as high."""
    width = int(level.max()) + 1
    place = group * width + level
    sorted_others = np.sort(place[others])
    count: Integers = sorted_others.searchsorted((group[some] + 1) * width) - sorted_others.searchsorted(place[some])
    return count


def _by_confidence(predicted: Floats, truth: Integers, weights: Floats) -> tuple[Floats, Floats]:
    """Sums over the answers that are at least as confident, (m, levels): of all, and of the wrong ones."""
    confidence, wrong = predicted.max(axis=1), predicted.argmax(axis=1) != truth
    order = np.argsort(-confidence, kind="stable")
    starts = np.flatnonzero(np.diff(-confidence[order], prepend=-2))
    given, missed = (
        np.add.reduceat(part[:, order], starts, axis=1).cumsum(axis=1) for part in (weights, weights * wrong)
    )
    return given, missed


def _agreement(answer: Integers, truth: Integers, weights: Floats, classes: int) -> dict[str, Floats]:
    """Scores that follow from the confusion matrix, for (m, n) weights."""
    cells = truth * classes + answer
    counts = np.stack([np.bincount(cells, weights=row, minlength=classes**2) for row in weights])
    square = counts.reshape(-1, classes, classes)
    right, total = np.einsum("mii->mi", square), counts.sum(axis=1)
    labels, answers = square.sum(axis=2), square.sum(axis=1)
    agreed, chance = right.sum(axis=1), (labels * answers).sum(axis=1)
    spread = [np.maximum(total**2 - (some**2).sum(axis=1), 0) for some in (labels, answers)]
    covariance, variance = agreed * total - chance, np.sqrt(spread[0] * spread[1])
    return {
        "balanced_accuracy": known_mean(right / labels, axis=1),
        "kappa": np.where(total**2 > chance, (agreed * total - chance) / (total**2 - chance), 0),
        "matthews": np.where(variance > 0, covariance / variance, 0),
    }


def known_mean(values: Floats, *, axis: int) -> Floats:
    """Return the mean of the values that are numbers; not a number where none is."""
    known = np.isfinite(values)
    total: Floats = np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)
    return total
