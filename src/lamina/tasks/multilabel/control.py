"""The negative control of runs that give labels."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lamina.maths.target_shuffles import Places
from lamina.results.assessment import TargetControl
from lamina.results.repeats import Retrainer
from lamina.tasks.metadata_control import control_of_targets
from lamina.tasks.multilabel.results import label_flags

_WORD = 64  # bits


def control(retrainer: Retrainer) -> TargetControl:
    """Train with label sets that are shuffled between origins, and test the F1 of each example's labels."""
    names = retrainer.learner.classes

    def open_score(truth: np.ndarray, judged: pd.DataFrame) -> Callable[[Places], float]:
        return open_f1(truth, label_flags(judged["predicted"], names))

    return control_of_targets(retrainer, open_score, higher_is_better=True)


def open_f1(truth: np.ndarray, named: np.ndarray) -> Callable[[Places], float]:
    """Return the mean of `lamina.maths.label_scores.f1_of_each` as a function of the true answers' rows.

    Labels are bits of whole numbers: thousands of shuffles of many examples take seconds.

    Args:
        truth: (rows, labels) bool.
        named: (n, labels) bool, the predicted labels.

    Returns:
        From (n,) rows of `truth` to the mean F1 of n examples.
    """
    true, given = _bits(truth), _bits(named)
    trues, givens = truth.sum(axis=1), named.sum(axis=1)

    def mean_f1(source: Places) -> float:
        both = np.bitwise_count(true[source] & given).sum(axis=1, dtype=np.intp)
        count = trues[source] + givens
        return float(np.where(count > 0, 2 * both / np.maximum(count, 1), 1.0).mean())

    return mean_f1


def _bits(flags: np.ndarray) -> np.ndarray:
    """(n, labels) bool as (n, words) uint64, a bit for each label."""
    words = -(-flags.shape[1] // _WORD)
    filled = np.zeros((len(flags), words * _WORD), bool)
    filled[:, : flags.shape[1]] = flags
    return np.packbits(filled, axis=1).view(np.uint64)
