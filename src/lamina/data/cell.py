"""Find the leukocyte in a picture of a stained blood smear, and set it alone on a flat ground.

Nothing is learned and no color or length is fixed: light absorbed is counted from each picture's own empty
field, stains are told apart by the picture's own nuclei and red cells, sizes are shares of the picture, of the
nucleus or of the red cells beside it.

1. Absorbance (Beer-Lambert): minus the logarithm of each pixel over the empty field's color.
2. Nuclei absorb red and green light but hardly blue; red cells blue and green. So red + green - 2 blue, cut in
   two by Otsu's threshold, leaves nuclei and platelets; size tells these apart.
3. How much each pixel looks like the cell: its share of nuclear stain, and how much commoner its color is about
   the nucleus than far from it.
4. The outline: one radius for each of `_RAYS` directions from the nucleus' middle, the cell-like inside and the
   rest outside, neighbours close to each other; the best by dynamic programming. Then colors and middle are taken
   from that outline, and the outline once more.

Sources: Ruifrok & Johnston 2001 (stain separation); Otsu 1979; Viterbi 1967, along rays as in star-convex
segmentation.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from lamina.maths.color import RgbPixels

Box = tuple[int, int, int, int]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

# The same in every picture, so that it tells nothing of slide or light; in the middle of the range, where the
# input conventions of most networks are near zero and neither nucleus nor cytoplasm meets a hard edge.
GROUND: Final = (128, 128, 128)
MARGIN: Final = 0.1  # of the box's longer side, added all around

# Chosen on one half of 344 real pictures with a box told, and on drawn smears; see tests/test_cell.py.
_SIDE: Final = 256  # pixels of the longer side on which the search runs
_LEAST_SIDE: Final = 16  # pixels; a smaller picture shows no outline
_LEAST_VIOLET: Final = 0.25  # absorbance, red + green - 2 blue: paler than any stained nucleus
_LEAST_SHARE: Final = 0.003  # of the picture, that a nucleus covers
_LEAST_RADIUS: Final = 0.7  # of a red cell's: platelets are smaller, nuclei of lymphocytes about as large
_LEAST_OF_LARGEST: Final = 0.25  # area of a further nucleus, of the largest's
_LOBE_GAP: Final = 0.5  # between lobes, half of it, in radii of the largest part
_LOBE: Final = 1.25  # of a red cell's radius: no lobe is thicker, and a nucleus of its own is
_CORE: Final = 0.6  # of the radius of a disc as large as all lobes: no three of a kind are thicker
_CYTOPLASM: Final = 0.05  # of the nucleus' stain
_RIM: Final = 0.3  # radii of the nucleus: as far beyond it its cytoplasm is looked at first
_RAYS: Final = 64
_STEPS: Final = 48  # of a ray
_REACH: Final = 3.2  # of a ray, in radii of the nucleus
_BENDING: Final = 0.05  # what a step in or out from ray to ray costs
_COLORS: Final = 24  # bins of each channel's absorbance


class Cell(NamedTuple):
    """A leukocyte in a picture.

    box: (left, top, right, bottom) in pixels of the picture, right and bottom excluded, inside the picture.
    outline: (n, 2) float32, x and y in the same pixels, which may reach beyond the picture's edge.
    count: how many leukocytes the picture shows; this one is the largest.
    """

    box: Box
    outline: Floats
    count: int


def find_cell(rgb: RgbPixels) -> Cell | None:
    """Find the largest leukocyte, nucleus and cytoplasm, or None where there is none.

    rgb: (height, width, 3) uint8, of any size. Takes about 15 ms, whatever the size.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    if min(height, width) * scale < _LEAST_SIDE:
        return None
    shape = (round(width * scale), round(height * scale))
    small = cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    absorbed = _absorbance(small)
    violet = _violet(absorbed)
    red = _red_cells(absorbed, violet)
    nuclei = _nuclei(violet, red)
    if not nuclei:
        return None
    outline = _outline(absorbed, violet, red, nuclei[0]) * (width / shape[0], height / shape[1])
    box = _bounds(outline, width, height)
    return Cell(box, outline.astype(np.float32), len(nuclei))


def _absorbance(rgb: RgbPixels) -> Floats:
    """Light absorbed beyond what the empty field absorbs, (3, h, w), natural logarithm; 0 is empty."""
    light = np.stack(cv2.split(cv2.GaussianBlur(rgb, (0, 0), 1)))
    bright = light.sum(axis=0, dtype=np.float32)
    empty = bright >= _otsu(bright)
    logarithms = np.log(np.arange(1, 257, dtype=np.float32))
    medians = [np.searchsorted(np.cumsum(np.bincount(plane[empty])), empty.sum() / 2) for plane in light]
    return np.stack([(logarithms[median] - logarithms)[plane] for median, plane in zip(medians, light, strict=True)])


def _otsu(values: Floats) -> float:
    """Otsu's threshold over 256 bins; the value itself where all are the same."""
    low, high = float(values.min()), float(values.max())
    bins = np.rint((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    level, _ = cv2.threshold(bins.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    return low + (level + 0.5) * (high - low) / 255


def _violet(absorbed: Floats) -> Mask:
    """Where stain is as violet as in nuclei and platelets."""
    red, green, blue = absorbed
    score = np.maximum(red + green - 2 * blue, 0)
    return _opened(score > max(_otsu(score), _LEAST_VIOLET), 1)


def _red_cells(absorbed: Floats, violet: Mask) -> Mask:
    """What is stained at all, far from all that is violet."""
    near = _dilated(violet, max(3, round(0.02 * max(violet.shape))))
    if near.all():
        return np.zeros_like(near)
    total = absorbed.sum(axis=0)
    return ~near & (total > _otsu(np.maximum(total[~near], 0)))


def _nuclei(violet: Mask, red: Mask) -> list[Mask]:
    """The nuclei, largest first: lobes put together, touching cells parted, platelets left out."""
    _, sizes = _parts(violet)
    if len(sizes) == 0:
        return []
    gap = _LOBE_GAP * float(np.sqrt(sizes.max() / np.pi))
    red_radius = _red_radius(red)
    least = max(_LEAST_SHARE * violet.size, np.pi * (_LEAST_RADIUS * red_radius) ** 2, _LEAST_OF_LARGEST * sizes.max())
    together, _ = _parts(_closed(violet, max(1, round(gap))))
    together[~violet] = 0
    large = [together == number for number, size in enumerate(np.bincount(together.ravel())) if number and size > least]
    found = [nucleus for group in large for nucleus in _parted(group, red_radius) if nucleus.sum() >= least]
    return sorted(found, key=np.sum, reverse=True)


def _red_radius(red: Mask) -> float:
    """Radius of the red cells in pixels: half the width of what they cover, clumps or rings; 0 where none is."""
    if not red.any():
        return 0.0
    depth = _depth(_closed(red, 1))
    return float(np.percentile(depth[depth > 0], 98))


def _depth(mask: Mask) -> Floats:
    """Distance of each pixel inside to the outside; what the picture's edge cuts goes on beyond it."""
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _parted(nucleus: Mask, red_radius: float) -> list[Mask]:
    """Nuclei that lie so close that they count as one, told from lobes, which are smaller than a red cell."""
    depth = _depth(nucleus)
    least = max(_LOBE * red_radius, _CORE * float(np.sqrt(nucleus.sum() / np.pi)))
    cores, sizes = _parts(depth >= least)
    if len(sizes) < 2 or red_radius == 0:
        return [nucleus]
    _, nearest = cv2.distanceTransformWithLabels(
        (cores == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    return [nucleus & (nearest == label) for label in np.unique(nearest[cores > 0])]


def _outline(absorbed: Floats, violet: Mask, red: Mask, nucleus: Mask) -> npt.NDArray[np.float64]:
    """The cell's outline around a nucleus: (n, 2), x and y."""
    radius = float(np.sqrt(nucleus.sum() / np.pi))
    stain = _nuclear_stain(absorbed, nucleus, red)
    colors = _binned(absorbed, nucleus)
    distance = cv2.distanceTransform((~nucleus).astype(np.uint8), cv2.DIST_L2, 5)
    inside, outside = distance <= max(2.0, _RIM * radius), distance > 1.5 * radius
    middle = _middle(nucleus)
    for _ in range(2):
        likeness = (stain + _color_likeness(colors, inside, outside)) / 2
        likeness[violet] = 0  # another cell's nucleus, a platelet, or a lobe
        likeness[nucleus] = 1
        outline = _star(likeness, middle, _REACH * radius)
        inside = _filled(outline, nucleus.shape) | nucleus
        outside = ~_dilated(inside, 2)
        middle = _middle(inside)
    return outline


def _nuclear_stain(absorbed: Floats, nucleus: Mask, red: Mask) -> Floats:
    """How surely each pixel holds the nucleus' stain beside the red cells', -1..1."""
    stains = [np.median(absorbed[:, where], axis=1) for where in (nucleus, red) if where.any()]
    weights = np.linalg.pinv(np.stack(stains))[:, 0]  # a sum of 1: as much as in the nucleus
    share = sum(plane * np.float32(weight / _CYTOPLASM) for plane, weight in zip(absorbed, weights, strict=True))
    return np.clip(share - 1, -1, 1)


def _binned(absorbed: Floats, nucleus: Mask) -> npt.NDArray[np.int32]:
    """The number of each pixel's color, absorbance cut into `_COLORS` bins a channel."""
    full = float(np.median(absorbed[:, nucleus], axis=1).max())
    red, green, blue = np.clip((absorbed * (0.8 / full) + 0.2) * _COLORS, 0, _COLORS - 1).astype(np.int32)
    return np.asarray((red * _COLORS + green) * _COLORS + blue, np.int32)


def _color_likeness(colors: npt.NDArray[np.int32], inside: Mask, outside: Mask) -> Floats:
    """How much commoner each pixel's color is inside than outside, -1..1: half the logarithm of the ratio."""
    a, b = (_frequencies(colors[where]) for where in (inside, outside))
    return np.clip(np.log((a + 1e-5) / (b + 1e-5)) / 2, -1, 1)[colors].astype(np.float32)


def _frequencies(colors: npt.NDArray[np.int32]) -> Floats:
    counts = np.bincount(colors, minlength=_COLORS**3).reshape((_COLORS,) * 3).astype(np.float32)
    smooth = ndimage.gaussian_filter(counts, 1.2, truncate=2)
    return np.asarray(smooth.ravel() / max(float(smooth.sum()), 1e-9), np.float32)


def _star(likeness: Floats, middle: tuple[float, float], reach: float) -> npt.NDArray[np.float64]:
    """The outline that holds most of what is like the cell and least of the rest: (_RAYS, 2), x and y."""
    angles = np.arange(_RAYS) * (2 * np.pi / _RAYS)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = (np.arange(_STEPS) + 0.5) / _STEPS
    places = np.asarray(middle) + reach * radii[:, None] * rays[:, None]
    along = ndimage.map_coordinates(likeness, [places[..., 1], places[..., 0]], order=1, mode="constant")
    held = np.cumsum(along * radii * (4 / _STEPS), axis=1)  # a step further out covers more
    steps = _smoothest(held) + 1
    return np.asarray(middle) + 0.5 + reach / _STEPS * steps[:, None] * rays


def _smoothest(gain: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """One step a ray, the largest sum of gains less the bending, closed: Viterbi, twice around."""
    rays, steps = gain.shape
    lap = np.arange(2 * rays) % rays
    jumps = np.arange(-2, 3)
    price = _BENDING * jumps[:, None] ** 2
    came_from = np.empty((2 * rays, steps), np.intp)
    best, edge, all_steps = np.zeros(steps), np.full(2, -np.inf), np.arange(steps)
    reached = all_steps + jumps[:, None] + 2
    for turn in range(2 * rays):
        choices = np.concatenate([edge, best, edge])[reached] - price
        chosen = choices.argmax(axis=0)
        came_from[turn] = all_steps + jumps[chosen]
        best = choices[chosen, all_steps] + gain[lap[turn]]
    path = np.empty(2 * rays, np.intp)
    path[-1] = best.argmax()
    for turn in range(2 * rays - 1, 0, -1):
        path[turn - 1] = came_from[turn, path[turn]]
    return np.roll(path[rays // 2 : rays // 2 + rays], rays // 2)  # where neither end is felt


def _middle(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


def _filled(outline: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    canvas = np.zeros(shape, np.uint8)
    # cv2 takes positions in fixed point, and the middle of a pixel as whole
    cv2.fillPoly(canvas, [np.rint((outline - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(np.bool_)


def _bounds(outline: npt.NDArray[np.float64], width: int, height: int) -> Box:
    left, top = np.clip(np.floor(outline.min(axis=0)), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(outline.max(axis=0)), (left + 1, top + 1), (width, height))
    return int(left), int(top), int(right), int(bottom)


def _parts(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Connected parts, numbered from 1, and their sizes in pixels."""
    _, parts, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return parts, facts[1:, cv2.CC_STAT_AREA]


def _disc(radius: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2), np.uint8)


def _dilated(mask: Mask, radius: int) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius)), np.bool_)


def _opened(mask: Mask, radius: int) -> Mask:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(radius)), np.bool_)


def _closed(mask: Mask, radius: int) -> Mask:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(radius)), np.bool_)
