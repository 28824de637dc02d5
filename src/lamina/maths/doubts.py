"""Doubtful labels: those that models contradict which have not seen the origin of the row."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

PARTS: Final = 5  # of the cross-validation
STRENGTHS: Final = (1.0, 5.0, 20.0)  # inverse penalties that are tried, for points of mean square length 1
TOLERANCE: Final = 1e-3  # of its solver; smaller ones change no rank that counts
ITERATIONS: Final = 1_000  # at most; tens to hundreds are usual

_LEAST: Final = 1e-12  # probability: classes that a part lacks have none

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """What a cross-validation says about labels.

    Attributes:
        classes: Names of the classes that were judged.
        judged: (n,) whether a row was judged: it has a label of these classes.
        labels: (judged,) class numbers.
        probabilities: (judged, classes), out of fold.
        score: (judged,) quality of the label from 0 to 1; the lowest are the most doubtful.
        suspect: (judged,) whether confident learning takes the label for wrong.
        parts: (judged,) part of the cross-validation in which a row was tested.
        strengths: For each of the features that judged, the best of `STRENGTHS`; the most accurate features first.
    """

    classes: tuple[str, ...]
    judged: npt.NDArray[np.bool_]
    labels: Numbers
    probabilities: Floats
    score: Floats
    suspect: npt.NDArray[np.bool_]
    parts: Numbers
    strengths: Mapping[str, float]

    @property
    def likelier(self) -> Numbers:
        """(judged,) most probable class of each row."""
        numbers: Numbers = self.probabilities.argmax(axis=1)
        return numbers


class NothingToJudgeError(ValueError):
    """There are too few classes or origins; the message says why."""


def find_doubts(
    points: Mapping[str, npt.NDArray[Any]], labels: "pd.Series[str]", origins: "pd.Series[str]", *, seed: int
) -> Doubts:
    """Find the labels that a cross-validation over whole origins contradicts.

    Classes with fewer origins than parts are left out, as are rows without a label. Of several features, those judge
    that are more accurate together than without them: what the one overlooks, another one sees.

    Args:
        points: (n, width) of each of the features, by name.
        labels: (n,) class names; may be missing.
        origins: (n,) whole origins are in one part.
        seed: Of the parts.

    Raises:
        NothingToJudgeError: If fewer than two classes are left.

    Source:
        C. Northcutt, L. Jiang and I. Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 2021.
        R. Caruana et al., Ensemble selection from libraries of models, ICML 2004.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    counts = origins.groupby(labels).nunique()
    judged = labels.isin(counts.index[counts >= PARTS]).to_numpy()
    classes = sorted(set(labels[judged]))
    if len(classes) < 2:
        enough = f"{len(classes) or 'no'} class{'es' * (not classes)} of at least {PARTS} origins"
        raise NothingToJudgeError(f"labels are compared between two or more classes; there is {enough}")
    numbers = np.searchsorted(classes, labels[judged].astype(str)).astype(np.intp)
    parts = _assign_parts(numbers, origins[judged], seed)
    fitted = {name: _fit_best(x[judged], numbers, parts, len(classes)) for name, x in points.items()}
    probabilities = {name: one for name, (_, one) in fitted.items()}
    chosen = _choose(probabilities, numbers)
    pooled = _pool([probabilities[name] for name in chosen])
    score = get_label_quality_scores(numbers, pooled, method="self_confidence")
    suspect = find_label_issues(numbers, pooled, filter_by="both", n_jobs=1)
    return Doubts(
        classes=tuple(classes),
        judged=judged,
        labels=numbers,
        probabilities=pooled,
        score=score,
        suspect=suspect & (pooled.argmax(axis=1) != numbers),
        parts=parts,
        strengths={name: fitted[name][0] for name in chosen},
    )


def _fit_best(x: npt.NDArray[Any], labels: Numbers, parts: Numbers, classes: int) -> tuple[float, Floats]:
    """The strength with the best accuracy, the first of equal ones, and its probabilities."""
    tried = {strength: out_of_fold(x, labels, parts, classes, strength) for strength in STRENGTHS}
    return max(tried.items(), key=lambda one: _hits(one[1], labels))


def _hits(probabilities: Floats, labels: Numbers) -> int:
    return int((probabilities.argmax(axis=1) == labels).sum())


def _choose(probabilities: Mapping[str, Floats], labels: Numbers) -> list[str]:
    """Choose the features that are most accurate together, from the best on: each one that adds to the hits."""
    ranked = sorted(probabilities, key=lambda name: -_hits(probabilities[name], labels))  # equal ones in their order
    chosen: list[str] = []
    hits = -1
    for name in ranked:
        together = _hits(_pool([probabilities[one] for one in (*chosen, name)]), labels)
        if together > hits:
            chosen, hits = [*chosen, name], together
    return chosen


def _pool(probabilities: Sequence[Floats]) -> Floats:
    """Pool probabilities (n, classes) of several models by their geometric mean."""
    if len(probabilities) == 1:
        return probabilities[0]
    shares = np.exp(np.mean([np.log(np.maximum(one, _LEAST)) for one in probabilities], axis=0))
    pooled: Floats = shares / shares.sum(axis=1, keepdims=True)
    return pooled


def out_of_fold(
    x: npt.NDArray[Any],
    labels: Numbers,
    parts: Numbers,
    classes: int,
    strength: float,
    *,
    used: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Return the class probabilities of each row from a model that was fitted to the other parts: (n, classes).

    A class that the other parts lack has probability 0.

    Args:
        x: (n, width) features.
        labels: (n,) class numbers.
        parts: (n,) part of each row.
        classes: Number of classes.
        strength: Inverse penalty of the logistic regression.
        used: (n,) which rows are fitted; None: all.
    """
    found = np.zeros((len(labels), classes))

    def judge(part: int) -> None:
        tested = parts == part
        fitted = ~tested if used is None else used & ~tested
        there = np.unique(labels[fitted])
        model = _fit(x[fitted], labels[fitted], strength) if len(there) > 1 else None
        found[np.ix_(tested, there)] = model.predict_proba(x[tested]) if model else 1

    # one core for each part: the threads of one small fit would mostly wait for each other
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as cores:
        list(cores.map(judge, np.unique(parts)))
    return found


def what_correcting_changes(points: Mapping[str, npt.NDArray[Any]], doubts: Doubts) -> dict[str, dict[str, float]]:
    """Measure the out-of-fold accuracy with the labels as given, with the likelier labels, and without the suspects.

    Args:
        points: (n, width) of each of the features, by name.
        doubts: Found in them.

    Returns:
        By `given`, `corrected` and `removed`: `all`, the accuracy of all rows that are left against the labels that
        were trained on, and `unsuspected`, that of the rows whose label is no suspect, the same rows each time. The
        first one rises by itself, since the models have chosen the suspects; only the second one is a fair comparison.
    """
    kept = ~doubts.suspect
    every, likelier = np.ones(len(kept), bool), np.where(doubts.suspect, doubts.likelier, doubts.labels)
    variants = {"given": (doubts.labels, every), "corrected": (likelier, every), "removed": (doubts.labels, kept)}
    found = {}
    for name, (labels, used) in variants.items():
        known = name == "given" or kept.all()
        probabilities = doubts.probabilities if known else _judged_again(points, doubts, labels, used)
        right = probabilities.argmax(axis=1) == labels
        found[name] = {"all": float(right[used].mean()), "unsuspected": float(right[kept].mean())}
    return found


def _judged_again(
    points: Mapping[str, npt.NDArray[Any]], doubts: Doubts, labels: Numbers, used: npt.NDArray[np.bool_]
) -> Floats:
    """Judge rows by the features that found the doubts, fitted to other labels or to fewer rows: (judged, classes)."""

    def judge(name: str) -> Floats:
        x, strength = points[name][doubts.judged], doubts.strengths[name]
        return out_of_fold(x, labels, doubts.parts, len(doubts.classes), strength, used=used)

    return _pool([judge(name) for name in doubts.strengths])


def _assign_parts(labels: Numbers, origins: "pd.Series[str]", seed: int) -> Numbers:
    """Assign whole origins to parts, stratified by class as well as they allow: (n,)."""
    from sklearn.model_selection import StratifiedGroupKFold

    parts = np.zeros(len(labels), np.intp)
    folds = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed)
    codes = pd.factorize(origins)[0]
    for number, (_, tested) in enumerate(folds.split(np.zeros(len(labels)), labels, codes)):
        parts[tested] = number
    return parts


def _fit(x: npt.NDArray[Any], labels: Numbers, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, tol=TOLERANCE, max_iter=ITERATIONS).fit(x, labels)
