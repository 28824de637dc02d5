"""Scores of parts of the pictures, such as those of one hospital or camera, and which differ from the rest."""

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr

from lamina.maths.comparison import holm
from lamina.maths.label_scores import share_interval
from lamina.maths.means import mean_interval
from lamina.maths.quarters import cut_numbers
from lamina.maths.scores import accuracy_interval
from lamina.maths.splits import UNKNOWN

FEWEST: Final = 5  # origins of a slice, and of the rest, from which on they are tested

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of the pictures.

    Attributes:
        column: Of the metadata.
        value: Of all its pictures there.
        pictures: Their number.
        origins: Number of their origins.
        mean: Of the scores.
        interval: Its 95 % interval over origins; None with one origin.
        difference: Mean less that of the rest.
        p: Of a test of no difference, corrected for the number of tests by Holm's method; None: too few origins.
            A slice and the rest, where that is a slice as well, have one test.
    """

    column: str
    value: str
    pictures: int
    origins: int
    mean: float
    interval: tuple[float, float] | None
    difference: float
    p: float | None


def find_slices(scores: npt.ArrayLike, origin: npt.ArrayLike, columns: pd.DataFrame, *, share: bool) -> list[Slice]:
    """Score every slice of some columns, and compare it with the rest.

    A slice and the rest may hold pictures of the same origins, which are not independent; the variance of the
    difference is linearized, and counts whole origins (W. G. Cochran, Sampling Techniques, 1977, section 9A). It is
    that of no difference (a score test): five wrong answers alone, which do not differ, would else be a certainty.
    Columns of many numbers are cut at their quartiles (`cut_numbers`).

    Args:
        scores: (n,) of each picture: 0 or 1 for an answer, another share of what is right in it, or an error.
        origin: (n,) of each picture.
        columns: n rows of text, missing where it is not known. A column with one value makes no slices.
        share: Whether scores are shares, from 0 to 1.

    Returns:
        The slices in the order of the columns, and of the values in each.
    """
    values, origins = np.asarray(scores, np.float64), np.asarray(origin, dtype=object)
    found: list[Slice] = []
    divisions: list[bytes] = []  # of the pictures by each slice, whichever side is the slice
    for name in columns:
        places = _cut(columns[name])
        for value in places.cat.categories if places.nunique() > 1 else []:
            inside = (places == value).to_numpy()
            if inside.any():
                found.append(_score(str(name), str(value), values, origins, inside, share))
                divisions.append((inside ^ inside[0]).tobytes())
    tested = {division: one.p for division, one in zip(divisions, found, strict=True) if one.p is not None}
    corrected = dict(zip(tested, holm([*tested.values()]), strict=True))
    return [replace(one, p=corrected.get(division)) for division, one in zip(divisions, found, strict=True)]


def _cut(column: "pd.Series[str]") -> "pd.Series[Any]":
    """Return the value of each row as an ordered category."""
    cut = cut_numbers(column)
    if cut is not None:
        return cut
    texts = column.fillna(UNKNOWN).astype(str)
    return texts.astype(pd.CategoricalDtype(sorted(set(texts), key=lambda text: (text == UNKNOWN, text)), ordered=True))


def _score(
    column: str,
    value: str,
    scores: Floats,
    origins: npt.NDArray[np.object_],
    inside: npt.NDArray[np.bool_],
    share: bool,
) -> Slice:
    own, count = scores[inside], len(set(origins[inside]))
    low, high = _interval_of(own, origins[inside], share)
    return Slice(
        column=column,
        value=value,
        pictures=len(own),
        origins=count,
        mean=float(own.mean()),
        interval=(float(low), float(high)) if math.isfinite(low) and count > 1 else None,
        difference=float(own.mean() - scores[~inside].mean()),
        p=_test(scores, origins, inside) if min(count, len(set(origins[~inside]))) >= FEWEST else None,
    )


def _interval_of(scores: Floats, origins: npt.NDArray[np.object_], share: bool) -> tuple[float, float]:
    if not share:
        return mean_interval(scores, origins)
    return (accuracy_interval if np.isin(scores, (0, 1)).all() else share_interval)(scores, origins)


def _test(scores: Floats, origins: npt.NDArray[np.object_], inside: npt.NDArray[np.bool_]) -> float:
    """p of no difference between a slice and the rest."""
    _, group = np.unique(origins, return_inverse=True)
    weights = np.where(inside, 1 / inside.sum(), -1 / (~inside).sum())
    parts = np.bincount(group, weights * (scores - scores.mean()))
    count = len(parts)
    error = math.sqrt(count / (count - 1) * float(parts @ parts))
    if error < 1e-12:  # all scores are the same
        return 1.0
    return float(2 * stdtr(count - 1, -abs(float(scores @ weights)) / error))


def worst_first(slices: list[Slice], *, higher_is_better: bool) -> list[Slice]:
    """Order slices by their mean."""
    sign = 1 if higher_is_better else -1
    return sorted(slices, key=lambda one: (sign * one.mean, one.column, one.value))
