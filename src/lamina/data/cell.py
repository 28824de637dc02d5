"""Finds the leukocyte (white blood cell) in a picture of a stained blood smear, and isolates it on a flat background.

Nothing is learned, and no color or length is fixed. The picture's own empty background is the zero of absorbance, its
own nuclei and red cells define the stains, and lengths are shares of the picture, the nucleus or the red cells.

1. Absorbance (Beer-Lambert law): logarithm of the background color divided by each pixel's color.
2. Nuclei absorb red and green light but little blue; red cells absorb green and blue. So Otsu's threshold on
   red + green - 2 blue keeps nuclei and platelets, and size separates these two.
3. Cell score of each pixel: how much nuclear stain it has, and how much more frequent its color is near the nucleus
   than far from it.
4. Outline: one radius in each of `_RAYS` directions. Dynamic programming finds the outline with high scores inside,
   low scores outside, and neighboring radii close to each other. Colors and center are then measured inside this
   outline, and it is found once more.

Sources: Ruifrok & Johnston 2001 (stains), Otsu 1979 (thresholds), Viterbi 1967 (dynamic programming).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from lamina.data.pixels import Box, square_around
from lamina.maths.color import RgbPixels

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]  # (n, 2), x and y; the center of the first pixel is (0.5, 0.5)
ColorNumbers = npt.NDArray[np.int32]

# The same in every picture, so that it reveals nothing of slide, stain or light. The middle of the range: near zero
# after the preprocessing of most networks, and equally far from pale cytoplasm and dark nuclei.
BACKGROUND: Final = (128, 128, 128)

# Chosen on drawn smears and on one half of 344 real pictures with a labeled box; the other half gave the same result.
_SIDE: Final = 256  # longer side in pixels during the search
_LEAST_SIDE: Final = 16  # pixels; smaller pictures show no outline
_STRAY_LIGHT: Final = 32  # grey levels added, so that noise of near-black pixels does not look like strong stain
_LEAST_VIOLET: Final = 0.25  # absorbance, red + green - 2 blue; every nucleus has more
_LEAST_SHARE: Final = 0.003  # smallest nucleus, as a share of the picture
_LEAST_RADIUS: Final = 0.6  # smallest nucleus, in radii of a red cell: platelets are smaller, lymphocyte nuclei about 1
_PALLOR: Final = 0.9  # a hole that fills this share of its convex hull is a red cell's pale center, not a gap of cells
_LEAST_OF_LARGEST: Final = 0.25  # smallest area of a further nucleus, as a share of the largest
_LOBE_GAP: Final = 0.5  # half the widest gap between lobes, in radii of the largest
_LOBE: Final = 1.1  # red cell radii: a lobe is thinner, a touching nucleus thicker
_CORE: Final = 0.6  # radii of a disc of the same area: three equal parts are thinner, two equal parts thicker
_CYTOPLASM: Final = 0.05  # stain of cytoplasm, as a share of the nucleus'
_RIM: Final = 0.3  # width of the first guess of the cytoplasm, in radii of the nucleus
_COLORS: Final = 24  # bins of absorbance per channel
_RAYS: Final = 64  # a multiple of four, so that rotating a picture by 90 degrees rotates the outline
_STEPS: Final = 48  # per ray
_RAY_LENGTH: Final = 3.2  # in radii of the nucleus
_BLUR: Final = 1.0  # pixels by which smoothing widens a cell; else a rim of background shows
_BENDING: Final = 0.05  # cost of a step in or out from ray to ray


@dataclass(frozen=True, eq=False)
class Cell:
    """A leukocyte in a picture.

    Attributes:
        box: (left, top, right, bottom) in pixels, inside the picture, right and bottom excluded.
        outline: (n, 2) float64, x and y in pixels, a closed polygon; it leaves the picture if the edge cuts the cell.
        count: Number of leukocytes in the picture; this one has the largest nucleus.
    """

    box: Box
    outline: Points
    count: int


def find_cell(rgb: RgbPixels) -> Cell | None:
    """Find the leukocyte with the largest nucleus.

    Takes about 10 ms. Flips and quarter turns of a picture give the same cell.

    Args:
        rgb: (height, width, 3) uint8, of any size.

    Returns:
        The cell (nucleus and cytoplasm), or None if there is none; a grey picture has no stain and so no cell.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    if min(height, width) * scale < _LEAST_SIDE:
        return None
    shape = (round(width * scale), round(height * scale))
    absorbed = _absorbance(cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA) if scale < 1 else rgb)
    violet = _violet(absorbed)
    red = _red_cells(absorbed, violet)
    nuclei = _nuclei(violet, red)
    if not nuclei:
        return None
    outline = _outline(absorbed, violet, red, nuclei[0]) * (width / shape[0], height / shape[1])
    return Cell(_bounds(outline, width, height), outline, len(nuclei))


def isolate_cell(rgb: RgbPixels, cell: Cell, size: int) -> RgbPixels:
    """Cut out the square around a cell, replace everything else by `BACKGROUND`, and resize it.

    The square is that of `lamina.data.pixels.square_around`. Shrinking averages areas, enlarging is bicubic.

    Args:
        rgb: (height, width, 3) uint8, the picture that the cell was found in.
        cell: From `find_cell`.
        size: Side of the result in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    x, y, side, _ = square_around(cell.box)
    # The background is replaced at full size, so that shrinking mixes nothing of the slide into the cell's border.
    corner = (int(np.floor(x)), int(np.floor(y)))
    square = _on_background(rgb, cell.outline, corner, int(np.ceil(side)) + 1)
    kernel = Image.Resampling.BOX if side >= size else Image.Resampling.BICUBIC
    area = (x - corner[0], y - corner[1], x - corner[0] + side, y - corner[1] + side)
    return np.asarray(Image.fromarray(square).resize((size, size), kernel, box=area))


def _on_background(rgb: RgbPixels, outline: Points, corner: tuple[int, int], side: int) -> RgbPixels:
    """The square of whole pixels at a corner, (side, side, 3): the inside of the outline on `BACKGROUND`."""
    x, y = corner
    square = np.full((side, side, 3), BACKGROUND, np.uint8)
    inside = rgb[max(0, y) : y + side, max(0, x) : x + side]
    rows, columns = (slice(max(0, -at), max(0, -at) + n) for at, n in zip((y, x), inside.shape[:2], strict=True))
    cover = _filled(outline - corner, (side, side), soft=True)[rows, columns, None] / np.float32(255)
    square[rows, columns] = np.rint(inside * cover + square[rows, columns] * (1 - cover))
    return square


def box_overlap(found: Sequence[float], labeled: Sequence[float]) -> float:
    """Return the intersection over union, 0 to 1, of two boxes (left, top, right, bottom)."""
    width = min(found[2], labeled[2]) - max(found[0], labeled[0])
    height = min(found[3], labeled[3]) - max(found[1], labeled[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (found, labeled)]
    return shared / (sum(areas) - shared) if shared else 0.0


def _absorbance(rgb: RgbPixels) -> Floats:
    """Absorbance relative to the empty background, (3, h, w), natural logarithm; 0 is background."""
    light = np.stack(cv2.split(cv2.GaussianBlur(rgb, (0, 0), 1)))
    bright = light.sum(axis=0, dtype=np.float32)
    empty = bright >= _otsu(bright)
    logarithms = np.log(np.arange(256, dtype=np.float32) + _STRAY_LIGHT)
    medians = [np.searchsorted(np.cumsum(np.bincount(plane[empty])), empty.sum() / 2) for plane in light]
    return np.stack([(logarithms[median] - logarithms)[plane] for median, plane in zip(medians, light, strict=True)])


def _otsu(values: Floats) -> float:
    """Otsu's threshold over 256 bins; the value itself if all values are equal."""
    low, high = float(values.min()), float(values.max())
    bins = np.rint((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    level, _ = cv2.threshold(bins.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    return low + (float(level) + 0.5) * (high - low) / 255


def _violet(absorbed: Floats) -> Mask:
    """Pixels that are as violet as nuclei and platelets."""
    red, green, blue = absorbed
    score = np.maximum(red + green - 2 * np.maximum(blue, 0), 0)  # bluer than the background is no stain
    return _morphed(np.asarray(score > max(_otsu(score), _LEAST_VIOLET)), cv2.MORPH_OPEN, 1)


def _red_cells(absorbed: Floats, violet: Mask) -> Mask:
    """Stained pixels far from violet ones."""
    near = _morphed(violet, cv2.MORPH_DILATE, max(3, round(0.02 * max(violet.shape))))
    if near.all():
        return np.zeros_like(near)
    total = absorbed.sum(axis=0)
    return np.asarray(~near & (total > _otsu(np.maximum(total[~near], 0))))


def _nuclei(violet: Mask, red: Mask) -> list[Mask]:
    """The nuclei, largest first: lobes joined, touching cells separated, platelets left out."""
    _, sizes = _parts(violet)
    if len(sizes) == 0:
        return []
    gap = _LOBE_GAP * float(np.sqrt(sizes.max() / np.pi))
    red_radius = _red_radius(red)
    least = max(_LEAST_SHARE * violet.size, np.pi * (_LEAST_RADIUS * red_radius) ** 2, _LEAST_OF_LARGEST * sizes.max())
    together, _ = _parts(_morphed(violet, cv2.MORPH_CLOSE, max(1, round(gap))))
    together[~violet] = 0
    large = [together == number for number, size in enumerate(np.bincount(together.ravel())) if number and size > least]
    found = [nucleus for group in large for nucleus in _separate(group, red_radius) if nucleus.sum() >= least]
    return sorted(found, key=np.sum, reverse=True)


def _red_radius(red: Mask) -> float:
    """Radius of the red cells in pixels: half the width of the area that they cover; 0 without red cells."""
    if not red.any():
        return 0.0
    covered = _morphed(red, cv2.MORPH_CLOSE, 1).astype(np.uint8)
    outlines, kinds = cv2.findContours(covered, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline, (_, _, _, outer) in zip(outlines, kinds[0], strict=True):
        area, hull = cv2.contourArea(outline), cv2.contourArea(cv2.convexHull(outline))
        if outer >= 0 and area >= _PALLOR * hull:
            cv2.drawContours(covered, [outline], 0, 1, cv2.FILLED)
    depth = _depth(covered > 0)
    return float(np.percentile(depth[depth > 0], 95))


def _depth(mask: Mask) -> Floats:
    """Distance of each pixel inside to the outside; beyond the picture's edge a shape continues."""
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _separate(nucleus: Mask, red_radius: float) -> list[Mask]:
    """Separate touching nuclei, but not lobes, which are smaller than a red cell."""
    least = max(_LOBE * red_radius, _CORE * _radius(nucleus))
    cores, sizes = _parts(_depth(nucleus) >= least)
    if len(sizes) < 2 or red_radius == 0:
        return [nucleus]
    _, nearest = cv2.distanceTransformWithLabels(
        (cores == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    return [nucleus & (nearest == label) for label in np.unique(nearest[cores > 0])]


def _outline(absorbed: Floats, violet: Mask, red: Mask, nucleus: Mask) -> Points:
    """The cell's outline around a nucleus: (n, 2), x and y."""
    radius = _radius(nucleus)
    stain = _nuclear_stain(absorbed, nucleus, red)
    colors = _binned(absorbed, nucleus)
    distance = _depth(~nucleus)
    inside, outside = distance <= max(2.0, _RIM * radius), distance > 1.5 * radius
    middle = _middle(nucleus)
    for _ in range(2):
        score = np.asarray((stain + _color_score(colors, inside, outside)) / 2, np.float32)
        score[violet] = 0  # another cell's nucleus, a platelet, or a lobe
        score[nucleus] = 1
        outline = _best_outline(score, middle, _RAY_LENGTH * radius)
        inside = (_filled(outline, nucleus.shape) > 0) | nucleus
        outside = ~_morphed(inside, cv2.MORPH_DILATE, 2)
        middle = _middle(inside)
    return outline


def _nuclear_stain(absorbed: Floats, nucleus: Mask, red: Mask) -> Floats:
    """Evidence, -1 to 1, that a pixel has the stain of the nucleus in addition to that of red cells."""
    stains = [np.median(absorbed[:, where], axis=1) for where in (nucleus, red) if where.any()]
    weights = np.linalg.pinv(np.stack(stains))[:, 0]  # a sum of 1 means as much stain as the nucleus
    red_light, green, blue = (np.float32(weight / _CYTOPLASM) for weight in weights)
    share = absorbed[0] * red_light + absorbed[1] * green + absorbed[2] * blue
    return np.asarray(np.clip(share - 1, -1, 1), np.float32)


def _binned(absorbed: Floats, nucleus: Mask) -> ColorNumbers:
    """The number of each pixel's color: absorbance in `_COLORS` bins per channel."""
    full = float(np.median(absorbed[:, nucleus], axis=1).max())
    red, green, blue = np.clip((absorbed * (0.8 / full) + 0.2) * _COLORS, 0, _COLORS - 1).astype(np.int32)
    return np.asarray((red * _COLORS + green) * _COLORS + blue, np.int32)


def _color_score(colors: ColorNumbers, inside: Mask, outside: Mask) -> Floats:
    """How much more frequent each pixel's color is inside than outside, -1 to 1: half the logarithm of the ratio."""
    a, b = (_frequencies(colors[where]) for where in (inside, outside))
    return np.asarray(np.clip(np.log((a + 1e-5) / (b + 1e-5)) / 2, -1, 1)[colors], np.float32)


def _frequencies(colors: ColorNumbers) -> Floats:
    counts = np.bincount(colors, minlength=_COLORS**3).reshape((_COLORS,) * 3).astype(np.float32)
    smooth = ndimage.gaussian_filter(counts, 1.2, truncate=2)
    return np.asarray(smooth.ravel() / max(float(smooth.sum()), 1e-9), np.float32)


def _best_outline(score: Floats, middle: tuple[float, float], length: float) -> Points:
    """The outline with the highest sum of scores inside: (_RAYS, 2), x and y. length: of a ray in pixels."""
    angles = np.arange(_RAYS) * (2 * np.pi / _RAYS)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = (np.arange(_STEPS) + 0.5) / _STEPS
    places = np.asarray(middle) + length * radii[:, None] * rays[:, None]
    along = ndimage.map_coordinates(score, [places[..., 1], places[..., 0]], order=1, mode="constant")
    gains = np.cumsum(along * radii * (4 / _STEPS), axis=1)  # a step farther out covers a larger area
    steps = _best_steps(gains) + 1
    lengths = np.maximum(length / _STEPS * steps - _BLUR, 1)
    return np.asarray(np.asarray(middle) + 0.5 + lengths[:, None] * rays, np.float64)


def _best_steps(gain: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """One step per ray of a closed outline, with the largest sum of gains minus bending costs (Viterbi, two rounds)."""
    rays, steps = gain.shape
    ray_of = np.arange(2 * rays) % rays
    jumps = np.arange(-2, 3)
    cost = _BENDING * jumps[:, None] ** 2
    came_from = np.empty((2 * rays, steps), np.intp)
    best, edge, all_steps = np.zeros(steps), np.full(2, -np.inf), np.arange(steps)
    reached = all_steps + jumps[:, None] + 2
    for index in range(2 * rays):
        choices = np.concatenate([edge, best, edge])[reached] - cost
        chosen = choices.argmax(axis=0)
        came_from[index] = all_steps + jumps[chosen]
        best = choices[chosen, all_steps] + gain[ray_of[index]]
    path = np.empty(2 * rays, np.intp)
    path[-1] = best.argmax()
    for index in range(2 * rays - 1, 0, -1):
        path[index - 1] = came_from[index, path[index]]
    return np.roll(path[rays // 2 : rays // 2 + rays], rays // 2)  # the middle round, which the open ends do not affect


def _radius(mask: Mask) -> float:
    """Radius of a disc of the same area."""
    return float(np.sqrt(mask.sum() / np.pi))


def _middle(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


def _filled(outline: Points, shape: tuple[int, int], *, soft: bool = False) -> npt.NDArray[np.uint8]:
    """Mask of an outline: 255 inside, 0 outside; soft: values between at the border."""
    canvas = np.zeros(shape, np.uint8)
    fixed = np.rint((outline - 0.5) * 16).astype(np.int32)  # in OpenCV a pixel's center has whole coordinates
    cv2.fillPoly(canvas, [fixed], 255, lineType=cv2.LINE_AA if soft else cv2.LINE_8, shift=4)
    return canvas


def _bounds(outline: Points, width: int, height: int) -> Box:
    """The bounding box of an outline inside the picture."""
    nexts = np.roll(outline, -1, axis=0)
    line = np.concatenate([outline + share * (nexts - outline) for share in np.arange(8) / 8])
    seen = line[((line >= 0) & (line <= (width, height))).all(axis=1)]
    if len(seen) == 0:
        return 0, 0, width, height
    left, top = np.minimum(np.floor(seen.min(axis=0)), (width - 1, height - 1))
    right, bottom = np.maximum(np.ceil(seen.max(axis=0)), (left + 1, top + 1))
    return int(left), int(top), int(right), int(bottom)


def _parts(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Connected parts, numbered from 1, and their areas in pixels."""
    _, parts, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return parts, facts[1:, cv2.CC_STAT_AREA]


def _morphed(mask: Mask, how: int, radius: int) -> Mask:
    """Dilate, open or close a mask (`cv2.MORPH_...`) by a disc."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), how, disc), np.bool_)
