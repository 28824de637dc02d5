"""What the stage inspect found: `data/inspection/summary.json`."""

from typing import Final

from pydantic import Field

from lamina.results.result_file import ResultFile

MAP_COLUMNS: Final = (
    "id",
    "file",
    "label",
    "fold",
    "origin",
    "x",
    "y",
    "likelier",
    "doubt",
    "suspect",
    "odd",
    "reason",
    "detail",
)
SUSPECTS: Final = ("file", "label", "likelier", "score", "corrected")
ODD: Final = ("file", "reason", "detail", "odd")


class Accuracy(ResultFile):
    """Out-of-fold accuracy: of all rows that are left, and of the rows whose label is no suspect."""

    all: float
    unsuspected: float


class Inspection(ResultFile):
    """Counts of doubtful labels and odd pictures.

    Attributes:
        input: What pictures were compared by: `features/NAME`, several with commas between them, the best first; or
            `pixels`.
        pictures: Originals.
        judged: Those whose label was judged.
        left_out: Classes that were not judged, with the number of their origins.
        suspects: Doubtful labels.
        reason: Why no label was judged; empty if some were.
        accuracy: With the labels as `given`, with the suspects `corrected`, and with them `removed`.
        odd: Odd pictures by reason.
        corrected: Labels that `source.corrections` replaced.
        mapped: Pictures on the map.
    """

    input: str
    pictures: int
    judged: int = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    suspects: int = 0
    reason: str = ""
    accuracy: dict[str, Accuracy] = Field(default_factory=dict)
    odd: dict[str, int] = Field(default_factory=dict)
    corrected: int = 0
    mapped: int = 0
