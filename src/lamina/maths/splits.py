"""Holdout split by groups: whole origins, stratified by class, as near to the configured shares as origins allow."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BeforeValidator, Field, field_validator, model_validator

from lamina.config import Config
from lamina.errors import UserError

FOLDS: Final = ("train", "validation", "test")
UNKNOWN: Final = "unknown"  # value of a column of metadata where a picture has none
_MOST_KINDS: Final = 200  # largest number of different origins of each fold that are tried for a swap
_STEPS: Final = 200  # per fold, and one for each origin: only rounding errors could need more
_DENSE: Final = 256  # origins whose counts are not sparse at once
_LEAST: Final = 1e-3  # change of the distances that counts
_COMPARED: Final = 10**4  # counts of classes that are compared at once
_EMPTY: Final = 1e10  # cost of a class missing from a fold: above any distance of 60,000 pictures

Values = Annotated[tuple[str, ...], BeforeValidator(lambda given: _texts(given)), Field(min_length=1)]
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
        hold_out: column of `source.metadata`, and the values of the pictures that are the test set.
        stratify: column of `source.metadata`: each fold gets as much of each of its values, in each class
            (of each quarter, where they are many numbers).
    """

    test: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    merge_near_duplicates: bool = True
    test_pattern: str | None = None
    hold_out: dict[str, Values] | None = Field(None, min_length=1, max_length=1)
    stratify: str | None = Field(None, min_length=1)

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
        if self.test_pattern is not None and self.hold_out:
            raise ValueError("test_pattern and hold_out both choose the test pictures; set one of them to null")
        if not self.is_test_given and self.test + self.validation >= 1:
            raise ValueError("test and validation must leave pictures to train with (together below 1)")
        return self

    @property
    def is_test_given(self) -> bool:
        """Whether the test pictures are given, not drawn."""
        return self.test_pattern is not None or self.hold_out is not None

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of all pictures of each fold, ordered as `FOLDS`; of `validation` alone if the test is given."""
        if self.is_test_given:
            return {"validation": self.validation}
        return dict(zip(FOLDS, (1 - self.test - self.validation, self.validation, self.test), strict=True))


def _texts(given: Any) -> Any:
    """Return one value or several, as texts: tables may hold 7 and 007, which are the same number of YAML."""
    values = tuple(given) if isinstance(given, list | tuple) else (given,)
    for value in values:
        if isinstance(value, bool | int | float):
            raise ValueError(f"write the value in quotes, as the table has it: '{value}'")
    return values


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
    counts = count_classes(origins, labels)
    _require_origins(counts, len(shares))
    names = _ordered(counts, seed)
    sizes = _sizes(counts, names)
    wanted = np.outer(list(shares.values()), sizes.sum(axis=0))
    fold = _assign(sizes, wanted)
    _improve(sizes, wanted, fold)
    return pd.Series(np.array(list(shares), dtype=object)[fold], index=names, name="fold").sort_index()


def count_classes(origins: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Count the pictures: `origin`, `label`, `pictures`, a sorted row for each origin and each of its classes."""
    pictures = pd.DataFrame({"origin": list(origins), "label": list(labels)})
    return pictures.groupby(["origin", "label"]).size().reset_index(name="pictures")


def _require_origins(counts: pd.DataFrame, folds: int) -> None:
    origins = counts.groupby("label").size()
    if origins.min() < folds:
        short = str(origins.idxmin())
        come = f"class {short!r} comes" if short else "all data come"
        raise UserError(f"split: {come} from {origins.min()} origins, but {folds} folds need one each; {remedy(short)}")


def remedy(label: str, first: str = "add data of other origins") -> str:
    """Advice for a class that is missing somewhere; pictures without labels are one class with an empty name."""
    return f"{first}, or leave the class out with source.classes" if label else first


def _ordered(counts: pd.DataFrame, seed: int) -> "pd.Index[str]":
    """Names of the origins, large ones first; equals are ordered by a hash of seed and name, not by input order."""
    totals = counts.groupby("origin")["pictures"].sum()
    hashes = [hashlib.sha256(f"{seed}/{origin}".encode()).digest() for origin in totals.index]
    total = totals.to_numpy()
    return totals.index[sorted(range(len(total)), key=lambda row: (-total[row], hashes[row]))]


def _sizes(counts: pd.DataFrame, names: "pd.Index[str]") -> Any:
    """Pictures of each origin, in the order of `names`, by class: (origins, classes) sparse.

    The classes are sorted by their numbers, as names must not decide between equal moves.
    """
    from scipy.sparse import csr_array  # slow to import, and the filter needs other parts of this module

    rows, columns = names.get_indexer(pd.Index(counts["origin"])), pd.factorize(counts["label"])[0]
    sizes = csr_array((counts["pictures"].to_numpy(np.float64), (rows, columns)))
    by_class = _sort_keys(sizes.T.tocsr())
    return sizes[:, sorted(range(len(by_class)), key=by_class.__getitem__)].sorted_indices()


def _sort_keys(sparse_rows: Any) -> list[tuple[tuple[int, float], ...]]:
    """For each row of a sparse matrix without negative numbers, a key that sorts as all its numbers in turn would."""
    places, values = (-sparse_rows.indices).tolist(), sparse_rows.data.tolist()
    return [
        tuple(zip(places[start:end], values[start:end], strict=True)) for start, end in pairwise(sparse_rows.indptr)
    ]


def _assign(sizes: Any, wanted: Floats) -> Integers:
    """Give each origin, in turn, to the fold that still misses the largest share of its classes."""
    missing = wanted.copy()
    fold = np.empty(sizes.shape[0], np.intp)
    for start in range(0, len(fold), _DENSE):
        for row, size in enumerate(sizes[start : start + _DENSE].toarray(), start):
            fold[row] = np.argmax((missing @ size) / (wanted @ size))
            missing[fold[row]] -= size
    return fold


def _improve(sizes: Any, wanted: Floats, fold: Integers) -> None:
    """Move or swap origins between folds, in place, as long as this brings the folds nearer to `wanted`.

    The distance of a fold is the sum of its squared errors per class, the squared error in total, and `_EMPTY` for
    each class that it misses. Origins with the same counts are of one kind. The time of a step grows with the kinds;
    the number of steps grows with the classes, as they even out what rounding leaves of each.
    """
    keys = _sort_keys(sizes)
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    kind = np.array([numbers[key] for key in keys])
    kinds = _Kinds.of(sizes[np.unique(kind, return_index=True)[1]])
    left = np.zeros((len(wanted), len(numbers) + 1), np.intp)  # origins of each kind in each fold
    np.add.at(left, (fold, kind), 1)
    left[:, -1] = 1  # a swap with nothing is a move
    have = np.stack([sizes[fold == number].sum(axis=0) for number in range(len(wanted))])
    swaps: dict[tuple[int, int], tuple[float, int, int]] = {}
    for _ in range(_STEPS * len(wanted) + len(fold)):
        for pair in combinations(range(len(wanted)), 2):
            if pair not in swaps:
                swaps[pair] = _best_swap(kinds, left[[*pair]], have[[*pair]], wanted[[*pair]])
        (here, there), (change, *moved) = min(swaps.items(), key=lambda swap: (swap[1][0], swap[0]))
        if change > -_LEAST:
            return
        for number, source, target in zip(moved, (here, there), (there, here), strict=True):
            if number < len(numbers):
                fold[np.flatnonzero((kind == number) & (fold == source))[0]] = target
                left[[source, target], number] += [-1, 1]
                have[[source, target]] += [[-1], [1]] * kinds.counts[[number]].toarray()
        swaps = {pair: swap for pair, swap in swaps.items() if not {here, there} & {*pair}}


@dataclass(frozen=True)
class _Kinds:
    """Kinds of origins, the last one without pictures.

    Attributes:
        counts: (kinds, classes) sparse, pictures.
        row: (nonzero counts,) kind of each.
        total: (kinds,) pictures.
        squares: (kinds,) sum of the squared counts and the squared total.
    """

    counts: Any
    row: Integers
    total: Floats
    squares: Floats

    @classmethod
    def of(cls, counts: Any) -> "_Kinds":
        from scipy.sparse import vstack

        counts = vstack([counts, type(counts)((1, counts.shape[1]))], "csr")
        row, total = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)), counts.sum(axis=1)
        return cls(counts, row, total, (counts**2).sum(axis=1) + total**2)

    def sums(self, values: Floats) -> Floats:
        """(kinds,) sums over the classes of each kind; values: one for each nonzero count."""
        sums: Floats = np.bincount(self.row, values, len(self.total)).astype(np.float64, copy=False)
        return sums

    def beside(self, chosen: Integers, *values: Floats) -> Any:
        """(chosen kinds, values * classes) sparse: several matrices of the shape of `counts`, column beside column."""
        columns = len(values) * self.counts.indices[:, None] + np.arange(len(values))
        shape = len(self.total), len(values) * self.counts.shape[1]
        data = np.stack(values, axis=1).ravel()
        return type(self.counts)((data, columns.ravel(), len(values) * self.counts.indptr), shape)[chosen]


def _best_swap(kinds: _Kinds, left: Integers, have: Floats, wanted: Floats) -> tuple[float, int, int]:
    """Find the swap between two folds that lowers their distances most: its change, the kind moved out and in.

    If the errors of the first fold less those of the second are e, and it gets the counts f more than it gives, the
    change is 2 f.e + 2 f.f, and as much for the totals. For f = b - a, that is what moving b in and a out would
    change alone, less 4 a.b. Nor does a fold miss a class of which it gives its last picture and gets another.

    left, have, wanted: of the two folds.
    """
    counts, present = kinds.counts.data, np.ones(kinds.counts.nnz)
    out, give, last = _moves(kinds, left[0], have, wanted)
    into, get, other_last = _moves(kinds, left[1], have[::-1], wanted[::-1])
    given = kinds.beside(out, 4 * counts, _EMPTY * last, _EMPTY * present)
    shared = given @ kinds.beside(into, counts, present, other_last).T
    change = give[:, None] + get - 4 * np.outer(kinds.total[out], kinds.total[into]) - shared.toarray()
    rows, columns = np.nonzero(change < change.min() + _LEAST)
    some = slice(max(1, _COMPARED // wanted.shape[1]))  # equals but for rounding, and those that are nearly as good
    flow = (kinds.counts[into[columns[some]]] - kinds.counts[out[rows[some]]]).toarray()
    after = _distance(have[0] + flow, wanted[0]) + _distance(have[1] - flow, wanted[1])
    best = int(np.argmin(after))
    before = _distance(have[0], wanted[0]) + _distance(have[1], wanted[1])
    return float(after[best] - before), int(out[rows[best]]), int(into[columns[best]])


def _moves(kinds: _Kinds, left: Integers, have: Floats, wanted: Floats) -> tuple[Integers, Floats, Floats]:
    """What moving an origin of each kind from the first fold to the second would change.

    Returns the numbers of the (at most `_MOST_KINDS`) best kinds, the change of each, and for each nonzero count of all
    kinds 1 where the first fold has no other picture of the class.
    """
    error, classes, counts = have - wanted, kinds.counts.indices, kinds.counts.data
    apart = error[0] - error[1]
    last = (counts == have[0][classes]).astype(np.float64)
    filled = have[1][classes] == 0
    change = 2 * (kinds.squares - kinds.sums(counts * apart[classes]) - kinds.total * apart.sum())
    change += _EMPTY * kinds.sums(last - filled)
    numbers = np.flatnonzero(left)
    numbers = np.sort(numbers[np.argsort(change[numbers], kind="stable")[:_MOST_KINDS]])
    return numbers, change[numbers], last


def _distance(have: Floats, wanted: Floats) -> Floats:
    """Distance of a fold's counts (..., classes), see `_improve`."""
    error = have - wanted
    distance: Floats = (error**2).sum(axis=-1) + error.sum(axis=-1) ** 2 + _EMPTY * (have <= 0).sum(axis=-1)
    return distance
