"""What every source yields."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One item of a source, a picture or a text, still encoded.

    name: path inside the source, with `/`; encoded: the file's bytes; labels: those told (two cells have two,
    be they the same), none where unlabeled; origin: what it was taken from (slide, patient), shared by pictures
    that must stay in one fold; boxes: (left, top, right, bottom) in pixels of each object of interest.
    """

    name: str
    encoded: bytes
    labels: tuple[str, ...]
    origin: str
    boxes: tuple[tuple[int, int, int, int], ...] = ()
