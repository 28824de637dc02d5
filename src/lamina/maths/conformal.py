"""Conformal prediction: sets of classes that hold the true one with a stated probability.

A set holds every class whose score, 1 - probability, is at most a limit. The scores of labeled pictures give the limit
(V. Vovk, A. Gammerman and G. Shafer, Algorithmic Learning in a Random World, 2005). With this score the sets are the
smallest on average (M. Sadinle, J. Lei and L. Wasserman, JASA 114 (2019) 223). The adaptive sets of Y. Romano, M. Sesia
and E. Candes, NeurIPS 2020, always hold the most probable class: where the accuracy is above the wanted coverage, they
hold the true class too often.

Pictures of one origin are similar. So each origin weighs as one picture: if whole origins are exchangeable, the set of
a picture of a new origin holds its class with at least the wanted probability, whatever the sizes of the origins (Y.
Lee, R. F. Barber and R. Willett, Distribution-free inference with hierarchical data, arXiv:2306.06342, 2023). For one
picture per origin this is the usual method.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.maths.scores import accuracy_interval, effective_size

COVERAGE: Final = 0.9

Floats = NDArray[np.float64]
_ROUNDING: Final = 1e-9


def limit(scores: ArrayLike, origin: ArrayLike, share: float) -> float:
    """Return the limit below which, or at which, the score of a picture of a new origin lies with a probability.

    Args:
        scores: (n,) of known pictures.
        origin: (n,) origin of each.
        share: the probability, 0 to 1 (both excluded).

    Returns:
        One of the scores; infinity if there are fewer than `origins_needed` origins.
    """
    values, origins = np.asarray(scores, dtype=np.float64), np.asarray(origin, dtype=object)
    if not len(values):
        return math.inf
    _, group, sizes = np.unique(origins, return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(1 / sizes[group[order]]) / (len(sizes) + 1)  # the new origin is one of them, too
    place = int(np.searchsorted(reached, share - _ROUNDING))
    return float(values[order[place]]) if place < len(values) else math.inf


def origins_needed(share: float) -> int:
    """Return the smallest number of origins that give a finite `limit`: 9 for 90 %, 19 for 95 %."""
    return math.ceil(share / (1 - share) - _ROUNDING)


def set_limits(
    probabilities: ArrayLike, label: ArrayLike, origin: ArrayLike, coverage: float = COVERAGE, *, by_class: bool = False
) -> Floats:
    """Return the limit of each class's score, (classes,).

    Args:
        probabilities: (n, classes) of pictures that the classifier did not learn from.
        label: (n,) column number of the true class.
        origin: (n,) origin of each picture.
        coverage: the wanted probability that a set holds the true class.
        by_class: Mondrian: a limit for each class from its own pictures, so that the coverage holds within each class,
            also a rare one. False: one limit, and the coverage holds over all classes in their present shares.

    Returns:
        Limits; infinity, so that a class is in every set, where there are fewer than `origins_needed` origins (by
        class: of this class, for instance none).
    """
    scores, truth = 1 - np.asarray(probabilities, dtype=np.float64), np.asarray(label, dtype=np.intp)
    origins, classes = np.asarray(origin, dtype=object), np.asarray(scores).shape[1]
    true_class = scores[np.arange(len(truth)), truth]
    if not by_class:
        return np.full(classes, limit(true_class, origins, coverage))
    own = [truth == number for number in range(classes)]
    return np.array([limit(true_class[rows], origins[rows], coverage) for rows in own])


def prediction_sets(probabilities: ArrayLike, limits: ArrayLike) -> NDArray[np.bool_]:
    """Return which classes are in the set of each picture, (n, classes); a set may be empty."""
    return np.asarray(1 - np.asarray(probabilities, dtype=np.float64) <= np.asarray(limits))


def score_sets(
    sets: NDArray[np.bool_], label: ArrayLike, origin: ArrayLike, coverage: float, calibrated: int | None = None
) -> dict[str, Any]:
    """Check sets against labels: a set's block in `metrics.json`.

    Args:
        sets: (n, classes) of `prediction_sets`.
        label: (n,) column number of the true class.
        origin: (n,) origin of each picture.
        coverage: what was wanted.
        calibrated: origins that gave the one limit of all classes; None: each class has its own.

    Returns:
        - `wanted`; `coverage`, the share of sets that hold the true class, and its `interval` (`accuracy_interval`);
        - `expected`: the range in which the coverage lies with 95 % probability if all is as it should be. It is wide
          for few origins: the limit depends on those that happened to be there (beta-binomial distribution; V. Vovk,
          ACML 2012). None without `calibrated`;
        - `mean_size`, and the shares of sets that are `empty` and `single`.
    """
    truth = np.asarray(label, dtype=np.intp)
    held, sizes = sets[np.arange(len(truth)), truth], sets.sum(axis=1)
    return {
        "wanted": coverage,
        "coverage": float(held.mean()),
        "interval": list(accuracy_interval(held, origin)),
        "expected": None if calibrated is None else _expected(coverage, calibrated, effective_size(held, origin)),
        "mean_size": float(sizes.mean()),
        "empty": float(np.mean(sizes == 0)),
        "single": float(np.mean(sizes == 1)),
    }


def _expected(coverage: float, calibrated: int, tested: float) -> list[float]:
    from scipy.stats import betabinom

    rank = math.ceil((calibrated + 1) * coverage - _ROUNDING)
    if rank > calibrated:
        return [1.0, 1.0]
    n = max(1, round(tested))
    return [float(end) / n for end in betabinom.ppf([0.025, 0.975], n, rank, calibrated + 1 - rank)]
