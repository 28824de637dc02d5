"""Colors as classes: the a, b plane of CIELAB, divided into bins.

Source: R. Zhang, P. Isola and A. A. Efros, Colorful Image Colorization, ECCV 2016, section 2.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.maths.color import UNITS, srgb_to_lab

Integers = NDArray[np.int32]
Floats = NDArray[np.float32]

WIDTH: Final = 10  # of a bin, in CIELAB units
SIGMA: Final = 5  # of the Gaussian for soft encoding and smoothing, in CIELAB units
NEIGHBORS: Final = 5
_LEVELS: Final = 256  # integer a and b from -128 to 127; sRGB colors need less


def _bin_centers() -> Floats:
    """(Q, 2): centers of the bins that are nearest to some sRGB color, sorted by a, then b.

    The faces of the RGB cube are enough: a color inside reaches a face if L changes while a and b stay.
    """
    levels = np.moveaxis(np.mgrid[0:256, 0:256], 0, -1).astype(np.uint8)
    faces = [np.insert(levels, channel, end, axis=-1) for channel in range(3) for end in (0, 255)]
    ab = srgb_to_lab(np.stack(faces))[..., 1:].reshape(-1, 2).astype(np.int32)
    a, b = ((ab + WIDTH * UNITS // 2) // (WIDTH * UNITS) + WIDTH * 2).T
    found = np.flatnonzero(np.bincount(a * WIDTH * 4 + b))
    return ((np.stack(np.divmod(found, WIDTH * 4), axis=-1) - WIDTH * 2) * WIDTH).astype(np.float32)


# (Q, 2): a and b of the bins' centers. Q is 261. The paper has 313: its grid is about one bin wider on every side (it
# begins at a = -90, b = 50), and no sRGB color is nearest to those outer bins.
BINS: Final = _bin_centers()


def nearest(ab: ArrayLike) -> Integers:
    """Find the bin nearest to each color.

    Args:
        ab: (..., 2) a and b in CIELAB units; they are rounded to integers first.

    Returns:
        (...) int32, row numbers of `BINS`. Of two bins at the same distance, the first one.
    """
    bins: Integers = _table()[0][_row(ab), 0]
    return bins


def count_bins(ab: ArrayLike) -> NDArray[np.int64]:
    """Count the colors whose nearest bin is each bin.

    Args:
        ab: (..., 2) a and b in CIELAB units, see `nearest`.

    Returns:
        (Q,) int64; counts of several calls can be added.
    """
    return np.bincount(nearest(ab).ravel(), minlength=len(BINS)).astype(np.int64)


def soft_encode(ab: ArrayLike) -> tuple[Integers, Floats]:
    """Encode each color as weights of its five nearest bins.

    Args:
        ab: (..., 2) a and b in CIELAB units; they are rounded to integers first, so that a table gives the result.

    Returns:
        Indices (..., 5) int32, row numbers of `BINS`, nearest first; and weights (..., 5) float32, a Gaussian of the
        distance, with sum 1.
    """
    indices, weights = _table()
    rows = _row(ab)
    return indices.take(rows, axis=0), weights.take(rows, axis=0)


def rarity(counts: ArrayLike, *, uniform: float = 0.5) -> Floats:
    """Compute a weight for each bin: rare colors get large weights, so that common dull colors do not dominate a loss.

    The weight is the inverse of the smoothed distribution of colors. It is scaled so that its mean over the counted
    colors is 1. (The paper scales by the mean over the smoothed distribution: the same except for a constant factor.)

    Args:
        counts: (Q,) number of colors in each bin, see `count_bins`; at least one color.
        uniform: share of a uniform distribution that is mixed in, in [0, 1]; it limits the largest weights (lambda in
            the paper).

    Returns:
        (Q,) float32.

    Raises:
        ValueError: if `counts` has another shape, a negative number, or zeros only.
    """
    numbers = np.asarray(counts, np.float64)
    if numbers.shape != (len(BINS),) or not (numbers >= 0).all() or not numbers.any():
        raise ValueError(f"expected ({len(BINS)},) counts, none below 0 and not all 0, got shape {numbers.shape}")
    shares = numbers / numbers.sum()
    mixed = (1 - uniform) * (_kernel() @ shares) + uniform / len(BINS)
    # without a uniform part it is 0 far from all counted colors; one color among 1e11 still gives more than this
    weights = 1 / np.maximum(mixed, 1e-12)
    return np.asarray(weights / (shares @ weights), np.float32)


def _row(ab: ArrayLike) -> NDArray[np.intp]:
    """Row number of `_table` for each color."""
    half = _LEVELS // 2
    levels = np.clip(np.rint(ab), -half, half - 1).astype(np.intp) + half
    row: NDArray[np.intp] = levels[..., 0] * _LEVELS + levels[..., 1]
    return row


@cache
def _table() -> tuple[Integers, Floats]:
    """Results of `soft_encode` for all integer a and b: one row each, b changes fastest."""
    levels = np.arange(_LEVELS) - _LEVELS // 2
    a, b = ((levels[:, None] - center.astype(np.int32)) ** 2 for center in BINS.T)
    indices, squares = (np.empty((_LEVELS, _LEVELS, NEIGHBORS), np.int32) for _ in range(2))
    for row, distance in enumerate(a):
        # one integer holds distance and bin: ties have the same order on every machine
        keys = ((distance + b) * len(BINS) + np.arange(len(BINS))).astype(np.int32)
        first = np.sort(np.partition(keys, NEIGHBORS, axis=1)[:, :NEIGHBORS], axis=1)
        squares[row], indices[row] = np.divmod(first, len(BINS))
    weights = np.exp((squares[..., :1] - squares) / (2 * SIGMA**2))
    weights /= weights.sum(axis=-1, keepdims=True)
    return indices.reshape(-1, NEIGHBORS), weights.reshape(-1, NEIGHBORS).astype(np.float32)


@cache
def _kernel() -> NDArray[np.float64]:
    """(Q, Q): the share of each bin (a column, sum 1) that smoothing gives to every bin."""
    squares = np.sum((BINS[:, None].astype(np.float64) - BINS) ** 2, axis=-1)
    shared = np.exp(-squares / (2 * SIGMA**2))
    kernel: NDArray[np.float64] = shared / shared.sum(axis=0)
    return kernel
