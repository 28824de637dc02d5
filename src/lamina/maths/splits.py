"""A holdout split by groups: whole origins, stratified by class, as near to the ratios as groups allow."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, field_validator, model_validator

from lamina.config import Config
from lamina.errors import UserError

FOLDS: Final = ("train", "validation", "test")
_ROUNDS: Final = 200  # swaps per fold at most; a handful is usual
_MOST_KINDS: Final = 500  # origins with different counts that are tried for a swap
_EMPTY: Final = 1e10  # cost of a class that a fold lacks: above any distance of 60,000 pictures

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]


class SplitConfig(Config):
    """Section `split` of params.yaml: shares of all pictures; what is left trains.

    merge_near_duplicates: whether pictures that show the same thing, whichever way it lies, count as one origin.
    given: a pattern searched in the pictures' names, with or without a top folder that all share: those it is found in
    are the test pictures, as published data sets give them, and `test` is not used; null: they are drawn.
    """

    test: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    merge_near_duplicates: bool = True
    test_pattern: str | None = None

    @field_validator("test_pattern")
    @classmethod
    def _is_pattern(cls, given: str | None) -> str | None:
        try:
            re.compile(given or "")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        return given

    @model_validator(mode="after")
    def _leaves_something(self) -> "SplitConfig":
        if self.test_pattern is None and self.test + self.validation >= 1:
            raise ValueError("test and validation must leave pictures to train with (together below 1)")
        return self

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of all pictures for each fold, in the order of `FOLDS`; of `validation` alone where test is given."""
        if self.test_pattern is not None:
            return {"validation": self.validation}
        return dict(zip(FOLDS, (1 - self.test - self.validation, self.validation, self.test), strict=True))


def split_origins(origins: Sequence[str], labels: Sequence[str], shares: Mapping[str, float], seed: int) -> pd.Series:
    """Assign every origin to a fold.

    origins, labels: (n,) one per picture; shares: fold to share, summing to 1. Returns fold by origin.
    Origins are visited from large to small, in an order that the seed draws among equals, each going where
    pictures of its classes are missed most; then moves and swaps mend what is still off. The result
    depends neither on the order of pictures nor on how classes are called.
    Raises UserError for a class with fewer origins than there are folds.
    """
    counts = pd.crosstab(pd.Series(origins, name="origin"), pd.Series(labels, name="label"))
    _demand_origins(counts, len(shares))
    order = _order(counts, seed)
    sizes = counts.to_numpy()[order].astype(np.float64)
    sizes = sizes[:, np.lexsort(sizes[::-1])]  # among equally good moves, the names of classes shall not decide
    wanted = np.outer(list(shares.values()), sizes.sum(axis=0))
    fold = _assign(sizes, wanted)
    _mend(sizes, wanted, fold)
    names = np.array(list(shares), dtype=object)
    return pd.Series(names[fold], index=counts.index[order], name="fold").sort_index()


def _demand_origins(counts: pd.DataFrame, folds: int) -> None:
    origins = (counts > 0).sum()
    if origins.min() < folds:
        short = str(origins.idxmin())
        come = f"class {short!r} comes" if short else "the pictures come"
        raise UserError(f"split: {come} from {origins.min()} origins, but {folds} folds need one each; {remedy(short)}")


def remedy(label: str, first: str = "add pictures of other origins") -> str:
    """What to do for a class that is missing somewhere; pictures without labels are one class, without a name."""
    return f"{first}, or leave the class out with source.classes" if label else first


def _order(counts: pd.DataFrame, seed: int) -> Integers:
    """Large origins first; among equals by a hash of the seed and the name, so that order of input is nothing."""
    drawn = [hashlib.sha256(f"{seed}/{origin}".encode()).digest() for origin in counts.index]
    total = counts.sum(axis=1).to_numpy()
    return np.array(sorted(range(len(counts)), key=lambda row: (-total[row], drawn[row])), dtype=np.intp)


def _assign(sizes: Floats, wanted: Floats) -> Integers:
    """Give each origin, in turn, to the fold that still misses the largest share of its classes."""
    missing = wanted.copy()
    fold = np.empty(len(sizes), np.intp)
    for row, size in enumerate(sizes):
        fold[row] = np.argmax((missing @ size) / (wanted @ size))
        missing[fold[row]] -= size
    return fold


def _mend(sizes: Floats, wanted: Floats, fold: Integers) -> None:
    """Move or swap origins between folds, in place, for as long as that brings the folds nearer to `wanted`."""
    kinds, kind = np.unique(sizes, axis=0, return_inverse=True)  # origins of equal counts are interchangeable
    kinds = np.concatenate([kinds, np.zeros((1, sizes.shape[1]))])  # swapping with nothing is moving
    kind = kind.reshape(-1)
    for _ in range(_ROUNDS * len(wanted)):
        have = np.array([sizes[fold == number].sum(axis=0) for number in range(len(wanted))])
        best = min(_best_swap(kinds, kind, fold, have, wanted, pair) for pair in combinations(range(len(wanted)), 2))
        change, here, there, given, taken = best
        if change > -1e-3:
            return
        for number, source, target in ((given, here, there), (taken, there, here)):
            if number < len(kinds) - 1:
                fold[np.flatnonzero((kind == number) & (fold == source))[0]] = target


def _best_swap(
    kinds: Floats, kind: Integers, fold: Integers, have: Floats, wanted: Floats, pair: tuple[int, int]
) -> tuple[float, int, int, int, int]:
    """(change of cost, fold, other fold, kind given, kind taken) of the swap that lowers the cost most."""
    here, there = pair
    nothing = len(kinds) - 1
    given = np.append(np.unique(kind[fold == here]), nothing)[-_MOST_KINDS:]
    taken = np.append(np.unique(kind[fold == there]), nothing)[-_MOST_KINDS:]
    flow = kinds[taken][None, :] - kinds[given][:, None]
    after = _distance(have[here] + flow, wanted[here]) + _distance(have[there] - flow, wanted[there])
    before = _distance(have[here], wanted[here]) + _distance(have[there], wanted[there])
    row, column = np.unravel_index(np.argmin(after), after.shape)
    return float(after[row, column] - before), here, there, int(given[row]), int(taken[column])


def _distance(have: Floats, wanted: Floats) -> Floats:
    """How far a fold's counts (..., classes) are off: per class, in total, and above all where one is empty."""
    off = have - wanted
    distance: Floats = (off**2).sum(axis=-1) + off.sum(axis=-1) ** 2 + _EMPTY * (have <= 0).sum(axis=-1)
    return distance
