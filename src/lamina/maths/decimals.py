"""Numbers with a decimal comma, as programs for tables write them in most of Europe and Latin America."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd  # `lamina new` needs this module and not pandas

_COMMA: Final = re.compile(r"\s*[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?\s*")
_THOUSANDS: Final = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")  # `1,250` may be 1250 or 1.25


def has_decimal_commas(cells: Iterable[str]) -> bool:
    """Whether the numbers of a column have decimal commas.

    That is so if no cell has a point, every cell with a comma is a number, and at least one of these has not exactly
    three digits behind it: those of `1,250` and `2,500` alone may be thousands.
    """
    texts = {*cells}
    commas = [text for text in texts if "," in text]
    return (
        bool(commas)
        and not any("." in text for text in texts)
        and all(map(_COMMA.fullmatch, commas))
        and not all(map(_THOUSANDS.fullmatch, commas))
    )


def with_decimal_points(cells: Sequence[str]) -> list[str]:
    """Return the cells of a column, with points where it `has_decimal_commas`."""
    return [cell.replace(",", ".") for cell in cells] if has_decimal_commas(cells) else list(cells)


def to_numbers(column: "pd.Series[str]") -> "pd.Series[float]":
    """Return the number of each cell of a column, NaN where a cell is missing or holds another text."""
    import pandas as pd

    commas = has_decimal_commas(column.dropna().astype(str))
    return pd.to_numeric(column.str.replace(",", ".", regex=False) if commas else column, errors="coerce")
