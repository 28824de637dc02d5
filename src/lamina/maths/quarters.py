"""Columns of text that hold numbers, cut at their quartiles."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.maths.decimals import to_numbers
from lamina.maths.splits import UNKNOWN

DISTINCT: Final = 8  # numbers of a column from which on it is cut


def cut_numbers(column: "pd.Series[str]") -> "pd.Series[Any] | None":
    """Return the quarter of each row as an ordered category, `UNKNOWN` where the cell is missing.

    A number on the bound of two quarters belongs to the lower one.

    None if another text than a finite number is there, or fewer than `DISTINCT` numbers are.
    """
    numbers = to_numbers(column).replace([np.inf, -np.inf], np.nan)
    if not numbers.isna().equals(column.isna()) or numbers.nunique() < DISTINCT:
        return None
    edges = np.unique(numbers.quantile([0, 0.25, 0.5, 0.75, 1]).to_numpy()).tolist()
    digits = next(count for count in range(6, 18) if len({f"{edge:.{count}g}" for edge in edges}) == len(edges))
    bounds = [f"{edge:.{digits}g}" for edge in edges]
    names = [f"{'' if low == bounds[0] else 'above '}{low} to {high}" for low, high in pairwise(bounds)]
    cut: pd.Series[Any] = pd.cut(numbers, edges, labels=names, include_lowest=True)
    return cut.cat.add_categories(UNKNOWN).fillna(UNKNOWN)
