"""Holdout split by groups: whole origins, stratified by class, as near to the configured shares as origins allow."""

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
_ROUNDS: Final = 200  # largest number of swaps per fold; a few are usual
_MOST_KINDS: Final = 500  # largest number of different origins that are tried for a swap
_EMPTY: Final = 1e10  # cost of a class missing from a fold: above any distance of 60,000 pictures

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]


class SplitConfig(Config):
    """Section `split` of params.yaml.

    Attributes:
        test: share of all pictures, above 0 and below 1; not used with `test_pattern`.
        validation: share of all pictures, above 0 and below 1; the rest is for training.
        merge_near_duplicates: whether pictures that show the same thing, in any orientation, count as one origin.
        test_pattern: regular expression for the names of the test pictures, as published data sets define them. It is
            searched in each name, with or without a top folder that all names share. None: test pictures are drawn.
    """

    test: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    merge_near_duplicates: bool = True
    test_pattern: str | None = None

    @field_validator("test_pattern")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        return pattern

    @model_validator(mode="after")
    def _leaves_something(self) -> "SplitConfig":
        if self.test_pattern is None and self.test + self.validation >= 1:
            raise ValueError("test and validation must leave pictures to train with (together below 1)")
        return self

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of all pictures of each fold, ordered as `FOLDS`; of `validation` alone with `test_pattern`."""
        if self.test_pattern is not None:
            return {"validation": self.validation}
        return dict(zip(FOLDS, (1 - self.test - self.validation, self.validation, self.test), strict=True))


def split_origins(origins: Sequence[str], labels: Sequence[str], shares: Mapping[str, float], seed: int) -> pd.Series:
    """Assign every origin to a fold.

    Origins are visited from large to small, in random order among equals. Each goes to the fold that misses its classes
    most; then moves and swaps of origins improve the result. It depends neither on the order of pictures nor on the
    names of classes.

    Args:
        origins: (n,) origin of each picture.
        labels: (n,) class of each picture.
        shares: share of each fold, with sum 1.
        seed: of the random order.

    Returns:
        The fold of each origin.

    Raises:
        UserError: if a class has fewer origins than there are folds.
    """
    counts = pd.crosstab(pd.Series(origins, name="origin"), pd.Series(labels, name="label"))
    _require_origins(counts, len(shares))
    order = _order(counts, seed)
    sizes = counts.to_numpy()[order].astype(np.float64)
    sizes = sizes[:, np.lexsort(sizes[::-1])]  # the names of classes must not decide between equal moves
    wanted = np.outer(list(shares.values()), sizes.sum(axis=0))
    fold = _assign(sizes, wanted)
    _improve(sizes, wanted, fold)
    names = np.array(list(shares), dtype=object)
    return pd.Series(names[fold], index=counts.index[order], name="fold").sort_index()


def _require_origins(counts: pd.DataFrame, folds: int) -> None:
    origins = (counts > 0).sum()
    if origins.min() < folds:
        short = str(origins.idxmin())
        come = f"class {short!r} comes" if short else "the pictures come"
        raise UserError(f"split: {come} from {origins.min()} origins, but {folds} folds need one each; {remedy(short)}")


def remedy(label: str, first: str = "add pictures of other origins") -> str:
    """Advice for a class that is missing somewhere; pictures without labels are one class with an empty name."""
    return f"{first}, or leave the class out with source.classes" if label else first


def _order(counts: pd.DataFrame, seed: int) -> Integers:
    """Row numbers, large origins first; equals are ordered by a hash of seed and name, not by input order."""
    hashes = [hashlib.sha256(f"{seed}/{origin}".encode()).digest() for origin in counts.index]
    total = counts.sum(axis=1).to_numpy()
    return np.array(sorted(range(len(counts)), key=lambda row: (-total[row], hashes[row])), dtype=np.intp)


def _assign(sizes: Floats, wanted: Floats) -> Integers:
    """Give each origin, in turn, to the fold that still misses the largest share of its classes."""
    missing = wanted.copy()
    fold = np.empty(len(sizes), np.intp)
    for row, size in enumerate(sizes):
        fold[row] = np.argmax((missing @ size) / (wanted @ size))
        missing[fold[row]] -= size
    return fold


def _improve(sizes: Floats, wanted: Floats, fold: Integers) -> None:
    """Move or swap origins between folds, in place, as long as this brings the folds nearer to `wanted`."""
    kinds, kind = np.unique(sizes, axis=0, return_inverse=True)  # origins with the same counts are equivalent
    kinds = np.concatenate([kinds, np.zeros((1, sizes.shape[1]))])  # a swap with nothing is a move
    kind = kind.reshape(-1)
    for _ in range(_ROUNDS * len(wanted)):
        have = np.array([sizes[fold == number].sum(axis=0) for number in range(len(wanted))])
        best = min(_best_swap(kinds, kind, fold, have, wanted, pair) for pair in combinations(range(len(wanted)), 2))
        change, here, there, moved_out, moved_in = best
        if change > -1e-3:
            return
        for number, source, target in ((moved_out, here, there), (moved_in, there, here)):
            if number < len(kinds) - 1:
                fold[np.flatnonzero((kind == number) & (fold == source))[0]] = target


def _best_swap(
    kinds: Floats, kind: Integers, fold: Integers, have: Floats, wanted: Floats, pair: tuple[int, int]
) -> tuple[float, int, int, int, int]:
    """(change of cost, fold, other fold, kind moved out, kind moved in) of the swap that lowers the cost most."""
    here, there = pair
    nothing = len(kinds) - 1
    moved_out = np.append(np.unique(kind[fold == here]), nothing)[-_MOST_KINDS:]
    moved_in = np.append(np.unique(kind[fold == there]), nothing)[-_MOST_KINDS:]
    flow = kinds[moved_in][None, :] - kinds[moved_out][:, None]
    after = _distance(have[here] + flow, wanted[here]) + _distance(have[there] - flow, wanted[there])
    before = _distance(have[here], wanted[here]) + _distance(have[there], wanted[there])
    row, column = np.unravel_index(np.argmin(after), after.shape)
    return float(after[row, column] - before), here, there, int(moved_out[row]), int(moved_in[column])


def _distance(have: Floats, wanted: Floats) -> Floats:
    """Cost of a fold's counts (..., classes): errors per class, in total, and a huge cost for a missing class."""
    error = have - wanted
    distance: Floats = (error**2).sum(axis=-1) + error.sum(axis=-1) ** 2 + _EMPTY * (have <= 0).sum(axis=-1)
    return distance
