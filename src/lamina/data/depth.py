"""Depth of pictures whose files do not say it: decided once for a source, from the largest value of all its pictures.

A camera of 12 bits writes 0 to 4095 into values of 16 bits, and few files say so. Decided picture by picture, a dark
picture would come out brighter than its neighbors.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from lamina.files import read_json, write_json

FULL: Final = 16  # bits
DEPTHS: Final = (8, 10, 12, 14, FULL)  # of cameras
NAME: Final = "depth.json"


@dataclass(frozen=True, kw_only=True)
class Depth:
    """What pictures are read as whose files do not say their depth.

    Attributes:
        pictures: How many there are.
        largest: Their largest value.
        bits: The depth; its largest value is white.
    """

    pictures: int
    largest: int
    bits: int

    def __str__(self) -> str:
        return (
            f"the files of {self.pictures} pictures do not say the depth of their values, of which the largest is "
            f"{self.largest}: read as {self.bits} bits; convert.depth sets it"
        )

    def write(self, lab: Path) -> None:
        """Write `depth.json` into a folder of converted pictures."""
        write_json(lab / NAME, asdict(self))


def depth_of(largest: int) -> int:
    """Return the smallest of `DEPTHS` that holds a value, of at most 16 bits."""
    return next(depth for depth in DEPTHS if largest < 1 << depth)


def stored_depth(lab: Path) -> dict[str, int]:
    """Return the `depth` that was stored in a folder of converted pictures; empty if every file says its own."""
    return {"depth": int(read_json(lab / NAME)["bits"])} if (lab / NAME).exists() else {}
