"""A test set that is given with the pictures, as published data sets have it; what is left trains and validates."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.errors import UserError
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import remedy, split_origins

Flags = npt.NDArray[np.bool_]


def find_published_test(names: Sequence[str], pattern: str) -> Flags:
    """Tell which pictures are given to test: (n,), whether the pattern is found in each name.

    names: with `/`; where the pattern is found in none of them, it is searched in what stands below the one top folder
    that all share, as an archive often has. Raises UserError where it is found in no name, or in all.
    """
    given = _found(names, pattern)
    if not given.any() and len({name.partition("/")[0] for name in names}) == 1:
        given = _found([name.partition("/")[2] for name in names], pattern)
    if not given.any():
        raise UserError(
            f"split.given: {pattern!r} is found in none of {len(names)} names ({names[0]!r}, ...); mend the pattern, "
            "or set it to null: the test pictures are drawn then"
        )
    if given.all():
        raise UserError(
            f"split.given: {pattern!r} is found in all {len(names)} names ({names[0]!r}, ...), which leaves nothing to "
            "train with; mend the pattern"
        )
    return given


def _found(names: Sequence[str], pattern: str) -> Flags:
    return np.array([re.search(pattern, name) is not None for name in names], dtype=bool)


def split_around(
    given: Flags, origins: Sequence[str], labels: Sequence[str], validation: float, seed: int
) -> npt.NDArray[np.object_]:
    """Assign every picture to a fold, around a test set that is given.

    given: (n,), whether a picture is of the test set; origins, labels: (n,) one per picture; validation: share of all
    n pictures. Returns (n,) folds: `test` where given; `SPARE` for other pictures of an origin that holds a given one,
    which the test set would know; else `train` or `validation`, whole origins, drawn as in `split_origins`.
    Raises UserError where a class has no test picture or too few origins beside the test set, and where validation
    would take all that is left.
    """
    table = pd.DataFrame({"origin": list(origins), "label": list(labels), "given": given})
    rest = table[~table.groupby("origin")["given"].transform("any")]
    _demand_classes(table, rest)
    share = validation * len(table) / len(rest)
    if share >= 1:
        raise UserError(
            f"split.validation: {validation} of {len(table)} pictures are all of the {len(rest)} that split.given "
            "leaves; lower it, so that some train"
        )
    drawn = split_origins(list(rest["origin"]), list(rest["label"]), {"train": 1 - share, "validation": share}, seed)
    folds = table["origin"].map(drawn).fillna(SPARE).to_numpy(object)
    folds[given] = "test"
    return folds


def _demand_classes(table: pd.DataFrame, rest: pd.DataFrame) -> None:
    """Every class needs pictures in each fold: given ones to test, and two origins to train and validate."""
    left = rest.groupby("label")["origin"].nunique()
    for label in sorted(set(table["label"])):
        of_class = f"of class {label!r} " if label else ""
        if not table["given"][table["label"] == label].any():
            raise UserError(f"split.given: no picture {of_class}is given to test; {remedy(label, 'mend the pattern')}")
        if left.get(label, 0) < 2:
            raise UserError(
                f"split.given: {left.get(label, 0)} origins {of_class}are left beside those with given test pictures, "
                f"but training and validation need one each; {remedy(label)}"
            )
