"""Draws stained blood smears from a seed, offline: one leukocyte of four classes among red cells.

Like a real folder, it has flaws: grey scans, duplicates, a truncated file and a file that is no picture. Pictures of
one slide share stain and light. The classes differ in shape and texture; stain and light vary so much between slides
that the mean color says almost nothing about the class.
"""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import joblib
import numpy as np
from PIL import Image

from lamina.data.sources.cells import ATYPICAL, TYPICAL, leukocyte, platelets, red_cells
from lamina.data.sources.members import Box, Picture
from lamina.data.sources.microscope import SIDE, Slide, draw_slide, expose

Flaw = Literal["grey", "duplicate", "near duplicate", "truncated", "no picture"]

# Classes of ten pictures in a row, in random order.
DECK = ("eosinophil",) * 2 + ("lymphocyte",) * 3 + ("monocyte",) * 2 + ("neutrophil",) * 3
ATYPICAL_SHARE = 0.25
PICTURES_A_SLIDE = (4, 12)
FEW = 48  # pictures; below this, starting worker processes takes longer than they save
# Of fifty pictures in a row, one is grey, one a near duplicate and one a duplicate (none in every fourth fifty). The
# two broken files are among the first fifty. All flaws have places 4 to 39 in their fifty.
FLAW_BLOCK, FLAW_PLACES = 50, range(4, 40)
ERROR_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One file of the source, before it is drawn.

    Attributes:
        index: Its place in the order of drawing.
        slide: Number of its slide.
        number: Its number on the slide.
        label: Its class.
        suffix: `jpg` or `png`.
        flaw: What is wrong with it.
        original: The shot that a duplicate repeats.
    """

    index: int
    slide: int
    number: int
    label: str
    suffix: str
    flaw: Flaw | None = None
    original: "Shot | None" = None

    @property
    def origin(self) -> str:
        return f"slide-{self.slide:03d}"

    @property
    def name(self) -> str:
        return f"smear/{self.label}/{self.origin}_{self.number:02d}.{self.suffix}"


def pictures(seed: int, count: int = 600) -> Iterator[Picture]:
    """Draw pictures on all cores, about 20 ms each.

    Pictures are 256x256 (a near duplicate may be slightly smaller). Each depends only on the seed and its place in the
    order of drawing, so the pictures of a smaller `count` are among those of a larger one.

    Args:
        seed: Seed of the random numbers.
        count: Number of pictures.

    Yields:
        Pictures sorted by name; the box contains the whole leukocyte.
    """
    planned = sorted(shots(seed, count), key=lambda shot: shot.name)
    drawn = joblib.Parallel(n_jobs=1 if count < FEW else -1, return_as="generator", batch_size=8)(
        joblib.delayed(_file)(shot, seed) for shot in planned
    )
    try:
        for shot, (encoded, boxes) in zip(planned, drawn, strict=True):
            yield Picture(name=shot.name, encoded=encoded, labels=(shot.label,), origin=shot.origin, boxes=boxes)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about drawings that are cancelled
            drawn.close()


def shots(seed: int, count: int) -> list[Shot]:
    """Plan what each of `count` files shows, in the order of drawing."""
    planned: list[Shot] = []
    slide, number, room = -1, 0, 0
    for index in range(count):
        if number == room:
            slide, number = slide + 1, 0
            room = int(_rng(seed, "slide size", slide).integers(*PICTURES_A_SLIDE, endpoint=True))
        number += 1
        planned.append(_shot(seed, index, slide, number, planned))
    return planned


def _shot(seed: int, index: int, slide: int, number: int, earlier: list[Shot]) -> Shot:
    flaw = _flaw(seed, index)
    if flaw in ("duplicate", "near duplicate"):
        sound = [shot for shot in earlier[-FLAW_BLOCK:] if shot.flaw is None]
        original = sound[_rng(seed, "original", index).integers(len(sound))]
        suffix = original.suffix if flaw == "duplicate" else "jpg"
        label = original.label
    else:
        original = None
        suffix = "png" if flaw is None and _slide(seed, slide).lossless else "jpg"
        label = DECK[_rng(seed, "deck", index // len(DECK)).permutation(len(DECK))[index % len(DECK)]]
    return Shot(index=index, slide=slide, number=number, label=label, suffix=suffix, flaw=flaw, original=original)


def _flaw(seed: int, index: int) -> Flaw | None:
    block, place = divmod(index, FLAW_BLOCK)
    flaws: list[Flaw] = ["grey", "near duplicate"]
    if block % 4 != 3:
        flaws.append("duplicate")
    if block == 0:
        flaws += ["truncated", "no picture"]
    places = _rng(seed, "flaws", block).choice(FLAW_PLACES, len(flaws), replace=False)
    return dict(zip(places.tolist(), flaws, strict=True)).get(place)


def _file(shot: Shot, seed: int) -> tuple[bytes, tuple[Box, ...]]:
    """The bytes of the file, and the box of the leukocyte; no box if it is no picture."""
    if shot.original is not None:
        return _duplicate(shot, shot.original, seed)
    if shot.flaw == "no picture":
        return ERROR_PAGE, ()
    image, box = draw(shot, seed)
    if shot.flaw == "grey":
        image = image.convert("L")
        image = image if _rng(seed, "grey", shot.index).random() < 0.5 else image.convert("RGB")
    encoded = _encoded(image, shot.suffix, _slide(seed, shot.slide).quality)
    return (encoded[: len(encoded) * 2 // 3] if shot.flaw == "truncated" else encoded), (box,)


def draw(shot: Shot, seed: int) -> tuple[Image.Image, Box]:
    """Draw a shot that is no duplicate.

    Returns:
        The picture before it is encoded, and the box of the leukocyte.
    """
    slide, rng = _slide(seed, shot.slide), _rng(seed, "drawing", shot.index)
    morphologies = ATYPICAL if rng.random() < ATYPICAL_SHARE else TYPICAL
    white = leukocyte(morphologies[shot.label], slide, rng)
    density = white.density + red_cells(white, slide, rng) + platelets(white, slide, rng)
    rows, columns = (np.flatnonzero((white.cell > 0.5).any(axis)) for axis in (1, 0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Image.fromarray(expose(density, slide, rng)), box


def _duplicate(shot: Shot, original: Shot, seed: int) -> tuple[bytes, tuple[Box, ...]]:
    """The same picture under another name; a near duplicate is more compressed, brighter or smaller."""
    encoded, boxes = _file(original, seed)
    if shot.flaw == "duplicate":
        return encoded, boxes
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    change = _rng(seed, "again", shot.index).integers(3)
    if change == 0:
        return _encoded(image, "jpg", 72), boxes
    if change == 1:
        return _encoded(image.point(lambda level: level + 2), "jpg", 90), boxes
    side = round(0.95 * SIDE)
    smaller = image.resize((side, side), Image.Resampling.LANCZOS)
    left, top, right, bottom = (round(edge * side / SIDE) for edge in boxes[0])
    return _encoded(smaller, "jpg", 90), ((left, top, right, bottom),)


def _encoded(image: Image.Image, suffix: str, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG" if suffix == "png" else "JPEG", quality=quality)  # PNG ignores the quality
    return file.getvalue()


@lru_cache(maxsize=64)
def _slide(seed: int, slide: int) -> Slide:
    return draw_slide(_rng(seed, "slide", slide))


def _rng(seed: int, what: str, index: int) -> np.random.Generator:
    """A separate generator for each thing that is drawn, so that none depends on what was drawn before."""
    return np.random.default_rng(np.random.SeedSequence([seed, *what.encode(), index]))
