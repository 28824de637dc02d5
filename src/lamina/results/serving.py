"""What a served model takes and gives."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The interface of a served model.

    Attributes:
        inputs: shape of a batch of numbers, with -1 for its length; None: a column of texts.
        outputs: shape of the output; None: a table with a column per class.
        columns: names of the table's columns.
        output_type: of the outputs; uint8 values are rounded and cut to 0..255.
    """

    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None = None
    columns: tuple[str, ...] = ()
    output_type: Literal["uint8", "float32"] = "float32"


def pictures(side: int) -> tuple[int, int, int, int]:
    """Return the shape of a batch of RGB pictures."""
    return (-1, side, side, 3)
