"""Splits with a published test set: its pictures are the test fold, the other ones are for training and validation."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.errors import UserError
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import remedy, split_origins

Flags = npt.NDArray[np.bool_]
GivenTest: TypeAlias = Callable[[Sequence[str]], Flags]  # from names to whether each is of the given test set


def find_published_test(names: Sequence[str], pattern: str) -> Flags:
    """Find the pictures of a published test set by a pattern in their names.

    If no name has the pattern, it is searched below the top folder that all names share, as archives often have one.

    Args:
        names: names of all pictures, with `/`.
        pattern: a regular expression, searched in each name.

    Returns:
        (n,) bool.

    Raises:
        UserError: if the pattern is found in no name, or in all.
    """
    is_test = _found(names, pattern)
    if not is_test.any() and len({name.partition("/")[0] for name in names}) == 1:
        is_test = _found([name.partition("/")[2] for name in names], pattern)
    if not is_test.any():
        raise UserError(
            f"split.test_pattern: {pattern!r} is found in none of {len(names)} names ({names[0]!r}, ...); correct the "
            "pattern, or set it to null to draw the test pictures"
        )
    if is_test.all():
        raise UserError(
            f"split.test_pattern: {pattern!r} is found in all {len(names)} names ({names[0]!r}, ...), which leaves "
            "nothing for training; correct the pattern"
        )
    return is_test


def _found(names: Sequence[str], pattern: str) -> Flags:
    return np.array([re.search(_composed(pattern), _composed(name)) is not None for name in names], dtype=bool)


def _composed(text: str) -> str:
    """Return Unicode's composed form: macOS names files in the decomposed one, and people write the other."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def split_around(
    is_test: Flags,
    origins: Sequence[str],
    labels: Sequence[str],
    validation: float,
    seed: int,
    *,
    key: str = "split.test_pattern",
) -> npt.NDArray[np.object_]:
    """Assign every picture to a fold, around a published test set.

    Args:
        is_test: (n,) bool, whether a picture is in the test set.
        origins: (n,) origin of each picture.
        labels: (n,) class of each picture.
        validation: share of all n pictures.
        seed: of the assignment.
        key: of params.yaml that gives the test set.

    Returns:
        (n,) folds: `test` for the test set; `SPARE` for other pictures of its origins, as training on them would leak;
        `train` or `validation` for the rest, in whole origins as in `split_origins`.

    Raises:
        UserError: if a class has no test picture or too few other origins, or if validation would take all other
            pictures.
    """
    table = pd.DataFrame({"origin": list(origins), "label": list(labels), "test": is_test})
    rest = table[~table.groupby("origin")["test"].transform("any")]
    _require_classes(table, rest, key)
    share = validation * len(table) / len(rest)
    if share >= 1:
        raise UserError(
            f"split.validation: {validation} of {len(table)} takes all {len(rest)} that {key} leaves; "
            "lower it, so that some are left for training"
        )
    drawn = split_origins(list(rest["origin"]), list(rest["label"]), {"train": 1 - share, "validation": share}, seed)
    folds = table["origin"].map(drawn).fillna(SPARE).to_numpy(object)
    folds[is_test] = "test"
    return folds


def _require_classes(table: pd.DataFrame, rest: pd.DataFrame, key: str) -> None:
    """Refuse a class without test pictures, or with fewer than two origins for training and validation."""
    left = rest.groupby("label")["origin"].nunique()
    for label in sorted(set(table["label"])):
        of_class = f" of class {label!r}" if label else ""
        if not table["test"][table["label"] == label].any():
            raise UserError(f"{key}: matches nothing{of_class}; {remedy(label, 'correct it')}")
        if left.get(label, 0) < 2:
            raise UserError(
                f"{key}: {left.get(label, 0)} origins{of_class} are left without test pictures, but "
                f"training and validation need one each; {remedy(label)}"
            )
