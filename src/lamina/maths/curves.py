"""Curves of classifiers at fixed places, so that a drawing is as large for a million pictures as for a hundred."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.maths.calibration import checked
from lamina.maths.further_scores import risk_coverage

GRID: Final = np.linspace(0, 1, 101)  # places of all curves

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves over `GRID`.

    Attributes:
        roc: (k, 101) true positive rate over the false positive rate, of each class that can be told from the rest.
        precision: (k, 101) precision over the recall, likewise.
        risk: (101,) error rate over the share of answers that are given, the most confident first.
    """

    roc: Floats
    precision: Floats
    risk: Floats


def curves(probabilities: ArrayLike, label: ArrayLike) -> Curves:
    """Compute the curves of (n, classes) probabilities and (n,) numbers of the true classes."""
    predicted, truth, _ = checked(probabilities, label, np.zeros(len(np.asarray(label))))
    shares, risk = risk_coverage(predicted, truth)
    own = [truth == place for place in range(predicted.shape[1])]
    found = [_of_class(predicted[:, place], is_it) for place, is_it in enumerate(own) if 0 < is_it.sum() < len(truth)]
    roc, precision = (np.array([pair[which] for pair in found]).reshape(-1, len(GRID)) for which in (0, 1))
    return Curves(roc=roc, precision=precision, risk=risk[_first_at_least(shares, GRID)])


def _of_class(score: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-1))  # of pictures with the same probability
    hits, named = positive[order].cumsum()[last], last + 1
    recall, fallout = hits / positive.sum(), (named - hits) / np.sum(~positive)
    steps = np.searchsorted(fallout, GRID, side="right")
    return np.append(0.0, recall)[steps], (hits / named)[_first_at_least(recall, GRID)]


def _first_at_least(values: Floats, wanted: Floats) -> NDArray[np.intp]:
    """Place of the first of ascending values that is at least as large as each wanted one, but for rounding."""
    return np.minimum(np.searchsorted(values, wanted - 1e-12), len(values) - 1)
