"""Draws blood cells as densities of stain: leukocytes of four classes, red cells and platelets.

Shapes are signed distances, so that edges are smooth at any scale. Lengths are in micrometers, or in shares of the
cell's radius where noted. Source of sizes and appearance: Bain, Blood Cells: A Practical Guide, 5th edition, 2015.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from lamina.data.sources.microscope import SIDE, STAINS, Field, Slide, noise

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Morphology:
    """Appearance of the cells of a class; each cell draws its own values from the ranges.

    The nucleus is a chain of lobes on an arc, connected by strands.

    Attributes:
        radius: Radius of the cell in micrometers.
        lobes: Number of lobes (low, high).
        lobe: Radius of a lobe, as a share of the cell's radius.
        arc: Radius of the arc, as a share of the cell's radius.
        step: Distance of neighboring lobes, as a share of the cell's radius.
        strand: Half width of a strand, as a share of the cell's radius.
        chromatin: Density of purple in the nucleus.
        grain: Size of its texture in micrometers.
        clumps: Contrast of its texture.
        lacy: 0 (clumped) to 1 (net-like).
        cytoplasm: Density of eosin, azure and purple.
        granules: Density of eosin and purple in each granule.
        granule: Radius of a granule in micrometers.
        cover: Area of all granules as a share of the cytoplasm; may exceed 1, because they overlap.
        vacuoles: Number of vacuoles (low, high).
        ragged: Irregularity of the outline, 0 to 1.
    """

    radius: Range
    lobes: tuple[int, int]
    lobe: Range
    arc: Range
    step: Range
    strand: Range
    chromatin: Range
    grain: float
    clumps: Range
    lacy: float
    cytoplasm: tuple[Range, Range, Range]
    granules: tuple[Range, Range]
    granule: Range
    cover: Range
    vacuoles: tuple[int, int] = (0, 0)
    ragged: float = 0.2


_NEUTROPHIL = Morphology(
    radius=(5.7, 7.2),
    lobes=(3, 5),
    lobe=(0.27, 0.36),
    arc=(0.44, 0.56),
    step=(0.6, 0.8),
    strand=(0.05, 0.1),
    chromatin=(0.75, 1.05),
    grain=0.9,
    clumps=(0.12, 0.24),
    lacy=0.0,
    cytoplasm=((0.1, 0.28), (0.0, 0.1), (0.0, 0.08)),
    granules=((0.04, 0.14), (0.03, 0.12)),
    granule=(0.14, 0.2),
    cover=(0.4, 0.9),
)
_EOSINOPHIL = replace(
    _NEUTROPHIL,
    radius=(5.9, 7.4),
    lobes=(2, 2),
    lobe=(0.4, 0.5),
    arc=(0.46, 0.54),
    step=(0.95, 1.25),
    strand=(0.05, 0.12),
    cytoplasm=((0.12, 0.3), (0.0, 0.1), (0.0, 0.06)),
    granules=((0.55, 1.1), (0.0, 0.08)),
    granule=(0.3, 0.42),
    cover=(0.9, 1.5),
)
_LYMPHOCYTE = replace(
    _NEUTROPHIL,
    radius=(3.9, 5.6),
    lobes=(1, 1),
    lobe=(0.78, 0.9),
    arc=(0.0, 0.08),
    chromatin=(0.85, 1.15),
    grain=1.1,
    clumps=(0.08, 0.18),
    cytoplasm=((0.0, 0.06), (0.25, 0.55), (0.0, 0.1)),
    granules=((0.0, 0.0), (0.0, 0.0)),
    cover=(0.0, 0.0),
    ragged=0.4,
)
_MONOCYTE = replace(
    _NEUTROPHIL,
    radius=(6.6, 8.6),
    lobes=(3, 5),
    lobe=(0.36, 0.46),
    arc=(0.42, 0.52),
    step=(0.36, 0.5),
    strand=(0.28, 0.36),
    chromatin=(0.6, 0.88),
    grain=0.75,
    clumps=(0.13, 0.24),
    lacy=0.6,
    cytoplasm=((0.03, 0.12), (0.18, 0.4), (0.03, 0.12)),
    granules=((0.0, 0.1), (0.05, 0.15)),
    granule=(0.12, 0.2),
    cover=(0.1, 0.4),
    vacuoles=(0, 7),
    ragged=0.8,
)

TYPICAL: Mapping[str, Morphology] = MappingProxyType(
    {"eosinophil": _EOSINOPHIL, "lymphocyte": _LYMPHOCYTE, "monocyte": _MONOCYTE, "neutrophil": _NEUTROPHIL}
)

# Cells that experts disagree on as well; they make the task hard.
ATYPICAL: Mapping[str, Morphology] = MappingProxyType(
    {
        # three lobes, granules few and pale
        "eosinophil": replace(
            _EOSINOPHIL,
            lobes=(2, 4),
            lobe=(0.28, 0.37),
            step=(0.6, 0.85),
            granules=((0.15, 0.5), (0.02, 0.14)),
            granule=(0.22, 0.4),
            cover=(0.4, 0.9),
        ),
        # reactive: large, indented, with ample cytoplasm
        "lymphocyte": replace(
            _LYMPHOCYTE,
            radius=(5.6, 7.6),
            lobes=(2, 3),
            lobe=(0.44, 0.56),
            arc=(0.2, 0.3),
            step=(0.2, 0.32),
            strand=(0.3, 0.4),
            chromatin=(0.7, 1.0),
            lacy=0.4,
            cytoplasm=((0.0, 0.1), (0.2, 0.45), (0.0, 0.1)),
            vacuoles=(0, 2),
            ragged=0.8,
        ),
        # small, its nucleus nearly round
        "monocyte": replace(
            _MONOCYTE,
            radius=(5.6, 7.2),
            lobes=(2, 3),
            lobe=(0.44, 0.56),
            arc=(0.2, 0.32),
            step=(0.22, 0.34),
            strand=(0.32, 0.42),
            lacy=0.5,
            vacuoles=(0, 2),
        ),
        # a band, or two lobes; granules coarse
        "neutrophil": replace(
            _NEUTROPHIL,
            lobes=(2, 4),
            lobe=(0.24, 0.36),
            step=(0.45, 0.8),
            strand=(0.08, 0.24),
            granules=((0.15, 0.45), (0.05, 0.25)),
            granule=(0.2, 0.36),
            cover=(0.4, 0.9),
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Leukocyte:
    """A drawn leukocyte.

    Attributes:
        x: Horizontal position of its center in pixels.
        y: Vertical position of its center in pixels.
        radius: Radius in pixels.
        cell: (SIDE, SIDE), share of each pixel that it covers.
        density: (SIDE, SIDE, 4), of `STAINS`.
    """

    x: float
    y: float
    radius: float
    cell: Field
    density: Field


def leukocyte(morphology: Morphology, slide: Slide, rng: np.random.Generator) -> Leukocyte:
    """Draw one leukocyte at a random place and angle, completely inside the picture."""
    radius = rng.uniform(*morphology.radius) * slide.scale
    reach = min(1.25 * radius, SIDE / 2 - 1)
    x, y = np.clip(SIDE / 2 + rng.normal(0, 22, 2), reach, SIDE - reach)
    left, top, side = int(x - reach), int(y - reach), int(2 * reach) + 1
    u, v = _coordinates(x - left, y - top, radius, side, rng)
    wobble = 0.01 + 0.03 * morphology.ragged
    u, v = u + wobble * noise(rng, side, 0.45 * radius), v + wobble * noise(rng, side, 0.45 * radius)
    edge = 1.2 / radius
    outside = _outline(u, v, rng, 0.03 + 0.04 * morphology.ragged)
    chain = _chain(u, v, morphology, rng) + 0.02 * noise(rng, side, 0.16 * radius)
    beyond = np.maximum(chain, outside + 0.03)
    cell, nucleus = _inside(outside, edge), _inside(beyond, 1.6 * edge)
    bubbles = _discs(side, int(rng.integers(*morphology.vacuoles, endpoint=True)), (0.3, 0.8), slide.scale, rng)
    body = _cytoplasm(morphology, outside, nucleus, slide.scale, rng) + _chromatin(
        morphology, beyond, nucleus, slide.scale, rng
    )
    body *= (cell * (1 - 0.8 * bubbles))[..., None]
    return Leukocyte(
        x=float(x), y=float(y), radius=radius, cell=_on_field(cell, left, top), density=_on_field(body, left, top)
    )


def red_cells(around: Leukocyte, slide: Slide, rng: np.random.Generator) -> Field:
    """Draw red cells next to a leukocyte, some partly under it: density (SIDE, SIDE, 4)."""
    radius = slide.red_radius * slide.scale
    count = rng.poisson(slide.crowding)
    apart = radius * (2.05 - 1.1 * slide.clumping)
    placed: list[tuple[float, float]] = []
    for x, y in rng.uniform(-0.9 * radius, SIDE + 0.9 * radius, (6 * count, 2)):
        free = np.hypot(x - around.x, y - around.y) > around.radius + rng.uniform(0.6, 1.05) * radius
        if free and all(np.hypot(x - a, y - b) > apart for a, b in placed) and len(placed) < count:
            placed.append((x, y))
    density = _stained(SIDE)
    for x, y in placed:
        _add(density, *_red_cell(x, y, radius * rng.normal(1.0, 0.06), slide, rng))
    return np.asarray(density * (1 - around.cell[..., None]), np.float32)


def platelets(around: Leukocyte, slide: Slide, rng: np.random.Generator) -> Field:
    """Draw a few platelets, purple grains in a pale blue body of 2 to 3 micrometers: density (SIDE, SIDE, 4)."""
    density = _stained(SIDE)
    for x, y in rng.uniform(0, SIDE, (rng.poisson(2.0), 2)):
        radius = rng.uniform(0.8, 1.7) * slide.scale
        left, top, side = _frame(x, y, radius, 1.6)
        u, v = _coordinates(x - left, y - top, radius, side, rng)
        body = _inside(_outline(u, v, rng, 0.16), 0.3)
        grains = np.clip(0.5 + 0.5 * noise(rng, side, 0.5 * slide.scale), 0, 1) * _inside(
            np.hypot(u, v) - np.float32(0.6), 0.4
        )
        _add(density, _stained(side, azure=0.2 * body, purple=(0.12 + 0.55 * grains) * body), left, top)
    return np.asarray(density * (1 - around.cell[..., None]), np.float32)


def _red_cell(x: float, y: float, radius: float, slide: Slide, rng: np.random.Generator) -> tuple[Field, int, int]:
    left, top, side = _frame(x, y, radius, 1.4)
    u, v = _coordinates(x - left, y - top, radius, side, rng)
    stretch = 1 + abs(rng.normal(0, 0.09))
    outside = _outline(u * stretch, v / stretch, rng, 0.035)
    body = _inside(outside, 1.4 / radius)
    hollow = np.hypot(u - rng.normal(0, 0.06), v - rng.normal(0, 0.06)) / rng.uniform(0.46, 0.66)
    pallor = np.clip(slide.pallor + rng.normal(0, 0.1), 0, 0.95)
    thickness = (1 - pallor * np.exp(-(hollow**2.4))) * (0.86 + 0.14 * np.clip(-outside / 0.25, 0, 1))
    hemoglobin = rng.normal(0.62, 0.04) * body * thickness
    return _stained(side, eosin=0.2 * body * thickness, hemoglobin=hemoglobin), left, top


def _stained(side: int, **densities: Field) -> Field:
    """Densities (side, side) of some `STAINS`, by name, as a patch: (side, side, 4)."""
    patch = np.zeros((side, side, len(STAINS)), np.float32)
    for stain, density in densities.items():
        patch[..., STAINS.index(stain)] = density
    return patch


def _cytoplasm(morphology: Morphology, outside: Field, nucleus: Field, scale: float, rng: np.random.Generator) -> Field:
    side = outside.shape[0]
    body = _stained(side)
    frost = 1 + 0.12 * noise(rng, side, 0.5 * scale) + 0.12 * noise(rng, side, 2.0 * scale)
    membrane = 1 + 0.35 * np.exp(-((outside / 0.05) ** 2))
    for stain, span in enumerate(morphology.cytoplasm):
        body[..., stain] = rng.uniform(*span) * frost * membrane
    size = rng.uniform(*morphology.granule)
    area = (side / scale) ** 2
    count = int(rng.uniform(*morphology.cover) * area / (np.pi * size**2))
    grains = _discs(side, count, (0.75 * size, 1.2 * size), scale, rng)
    for stain, span in zip((0, 2), morphology.granules, strict=True):
        body[..., stain] += rng.uniform(*span) * grains
    return np.asarray(body * (1 - 0.85 * nucleus[..., None]), np.float32)


def _chromatin(morphology: Morphology, beyond: Field, nucleus: Field, scale: float, rng: np.random.Generator) -> Field:
    side = beyond.shape[0]
    coarse, fine = noise(rng, side, morphology.grain * scale), noise(rng, side, 0.5 * morphology.grain * scale)
    net = 1 - 2 * np.abs(coarse)
    texture = (1 - morphology.lacy) * coarse + morphology.lacy * net + 0.5 * fine
    dome = 0.88 + 0.12 * np.clip(-beyond / 0.15, 0, 1)
    purple = (
        rng.uniform(*morphology.chromatin) * dome * np.clip(1 + rng.uniform(*morphology.clumps) * texture, 0.3, 1.6)
    )
    return _stained(side, azure=0.12 * purple * nucleus, purple=purple * nucleus)


def _chain(u: Field, v: Field, morphology: Morphology, rng: np.random.Generator) -> Field:
    """Signed distance to lobes on an arc and the strands between them, in shares of the cell's radius."""
    count = int(rng.integers(*morphology.lobes, endpoint=True))
    arc = rng.uniform(*morphology.arc)
    angles = np.cumsum([rng.uniform(*morphology.step) / max(arc, 0.1) for _ in range(count)])
    distance = arc * rng.normal(1.0, 0.12, count)
    points = np.stack([distance * np.cos(angles), distance * np.sin(angles)], 1)
    if count > 1:
        points = points - 0.5 * points.mean(0)  # an arc that is open to one side lies nearer to the center
    parts = [_lobe(u - x, v - y, rng.uniform(*morphology.lobe), rng) for x, y in points]
    width = rng.uniform(*morphology.strand)
    parts += [_segment(u, v, a, b) - width for a, b in itertools.pairwise(points)]
    softness = 0.035
    return np.asarray(-softness * np.log(sum(np.exp(np.clip(-part / softness, -30, 30)) for part in parts)), np.float32)


def _lobe(u: Field, v: Field, radius: float, rng: np.random.Generator) -> Field:
    turn, stretch = rng.uniform(0, np.pi), 1 + abs(rng.normal(0, 0.06))
    a, b = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    return np.asarray(np.hypot(a / stretch, b * stretch) - radius, np.float32)


def _segment(u: Field, v: Field, start: NDArray[np.float64], end: NDArray[np.float64]) -> Field:
    along = end - start
    share = np.clip(((u - start[0]) * along[0] + (v - start[1]) * along[1]) / max(float(along @ along), 1e-9), 0, 1)
    return np.asarray(np.hypot(u - start[0] - share * along[0], v - start[1] - share * along[1]), np.float32)


def _outline(u: Field, v: Field, rng: np.random.Generator, wobble: float) -> Field:
    """Signed distance to a round outline with a few waves on it."""
    angle = np.arctan2(v, u)
    waves = sum(rng.normal(0, wobble / order) * np.cos(order * angle + rng.uniform(0, 6.3)) for order in (2, 3, 4))
    return np.asarray(np.hypot(u, v) - 1 - waves, np.float32)


def _coordinates(x: float, y: float, radius: float, side: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """Rotated coordinates of a patch's pixels around (x, y), in shares of `radius`."""
    turn = rng.uniform(0, 2 * np.pi)
    across, down = (np.arange(side) - x) / radius, (np.arange(side)[:, None] - y) / radius
    u, v = across * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - across * np.sin(turn)
    return u.astype(np.float32), v.astype(np.float32)


def _inside(distance: Field, edge: float) -> Field:
    share = np.clip(0.5 - distance / (2 * edge), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _discs(side: int, count: int, radius: Range, scale: float, rng: np.random.Generator) -> Field:
    """Small soft discs at random places of a patch: (side, side), 0 to 1. radius: in micrometers."""
    finer = 3
    canvas = np.zeros((side * finer, side * finer), np.uint8)
    shift = 4  # cv2 takes positions in fixed point
    for x, y, size, level in rng.uniform([0, 0, radius[0], 140], [side, side, radius[1], 255], (count, 4)):
        place = (int(x * finer * 2**shift), int(y * finer * 2**shift))
        cv2.circle(canvas, place, int(size * scale * finer * 2**shift), int(level), -1, cv2.LINE_AA, shift)
    return np.asarray(cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA) / 255, np.float32)


def _frame(x: float, y: float, radius: float, room: float) -> tuple[int, int, int]:
    reach = room * radius
    return int(np.floor(x - reach)), int(np.floor(y - reach)), int(2 * reach) + 2


def _on_field(patch: Field, left: int, top: int) -> Field:
    field = np.zeros((SIDE, SIDE, *patch.shape[2:]), np.float32)
    _add(field, patch, left, top)
    return field


def _add(field: Field, patch: Field, left: int, top: int) -> None:
    """Add a patch to the picture in place; parts outside are ignored."""
    side = patch.shape[0]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, SIDE), min(top + side, SIDE)
    if x0 < x1 and y0 < y1:
        field[y0:y1, x0:x1] += patch[y0 - top : y1 - top, x0 - left : x1 - left]
