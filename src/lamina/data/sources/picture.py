"""One picture of a source: what every source yields."""

from dataclasses import dataclass

Box = tuple[int, int, int, int]  # (left, top, right, bottom) in pixels


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One encoded item of a source: a picture, or a text.

    Attributes:
        name: Path inside the source, with `/`.
        encoded: Bytes of the file.
        labels: Its labels; two cells have two labels, even equal ones; empty if unlabeled.
        origin: What it was taken from (slide, patient). Pictures of one origin stay in one fold.
        boxes: A box per object of interest.
    """

    name: str
    encoded: bytes
    labels: tuple[str, ...]
    origin: str
    boxes: tuple[Box, ...] = ()
