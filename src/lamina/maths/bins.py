"""Colors as classes: a and b of CIELAB cut into bins, for a network that tells how likely each color is.

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
SIGMA: Final = 5  # of the Gaussian that shares a color out and smooths their distribution, in CIELAB units
NEIGHBORS: Final = 5
_LEVELS: Final = 256  # whole a and b from -128 to 127, more than sRGB has


def _occupied() -> Floats:
    """The centers of the bins to which an sRGB color is nearest, by a, then b.

    The faces of the RGB cube show all of them: who keeps a and b and changes L leaves the cube through a face.
    """
    levels = np.moveaxis(np.mgrid[0:256, 0:256], 0, -1).astype(np.uint8)
    faces = [np.insert(levels, channel, end, axis=-1) for channel in range(3) for end in (0, 255)]
    ab = srgb_to_lab(np.stack(faces))[..., 1:].reshape(-1, 2).astype(np.int32)
    a, b = ((ab + WIDTH * UNITS // 2) // (WIDTH * UNITS) + WIDTH * 2).T
    found = np.flatnonzero(np.bincount(a * WIDTH * 4 + b))
    return ((np.stack(np.divmod(found, WIDTH * 4), axis=-1) - WIDTH * 2) * WIDTH).astype(np.float32)


# (Q, 2): a and b of the bins' centers. Q is 261; the 313 of the paper are a grid about one bin wider all round (it
# begins at a = -90, b = 50), whose outer bins are nearest to no sRGB color.
BINS: Final = _occupied()


def nearest(ab: ArrayLike) -> Integers:
    """Give the bin nearest to each color.

    ab: (..., 2) CIELAB units, rounded to whole ones here; of two bins as near, the first one is taken.
    Returns (...) int32, rows of `BINS`.
    """
    found: Integers = _table()[0][_place(ab), 0]
    return found


def count_bins(ab: ArrayLike) -> NDArray[np.int64]:
    """Count the colors nearest to each bin; ab: as `nearest` takes it. Returns (Q,) int64, which add up."""
    return np.bincount(nearest(ab).ravel(), minlength=len(BINS)).astype(np.int64)


def soft_encode(ab: ArrayLike) -> tuple[Integers, Floats]:
    """Share each color out among the five bins nearest to it.

    ab: (..., 2) CIELAB units, rounded to whole ones here: a table of them answers at once.
    Returns indices (..., 5) int32, rows of `BINS`, nearest first (of two as near, in their order), and weights
    (..., 5) float32, which sum to 1: a Gaussian of the distance.
    """
    indices, weights = _table()
    place = _place(ab)
    return indices.take(place, axis=0), weights.take(place, axis=0)


def rarity(counts: ArrayLike, *, uniform: float = 0.5) -> Floats:
    """Weigh the bins, the rarer the more, so that common dull colors do not decide alone.

    counts: (Q,) of colors by their nearest bin, see `count_bins`; at least one color. uniform: the share, in [0, 1], of
    an even distribution that is mixed in, so that no weight grows without bounds (lambda in the paper).
    Returns (Q,) float32: inverse to the smoothed and mixed distribution, 1 in the mean over the colors counted. (The
    paper takes that mean over the smoothed distribution: the same but for a factor.)
    """
    found = np.asarray(counts, np.float64)
    if found.shape != (len(BINS),) or not (found >= 0).all() or not found.any():
        raise ValueError(f"expected ({len(BINS)},) counts, none below 0 and not all 0, got shape {found.shape}")
    shares = found / found.sum()
    mixed = (1 - uniform) * (_kernel() @ shares) + uniform / len(BINS)
    # where nothing is mixed in, it vanishes far from every color counted; one color of 1e11 comes to more than this
    weights = 1 / np.maximum(mixed, 1e-12)
    return np.asarray(weights / (shares @ weights), np.float32)


def annealed_mean(probabilities: ArrayLike, temperature: float = 0.38) -> NDArray[np.float64]:
    """Make one color of a distribution over the bins: their mean after it is sharpened.

    probabilities: (..., Q), rows summing to 1. temperature: above 0; 1 gives the mean itself, dull but safe, near 0 the
    likeliest bin, vivid but spotty; 0.38 is the paper's choice.
    Returns (..., 2): a and b in CIELAB units.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}")
    given = np.asarray(probabilities, np.float64)
    sharp = (given / given.max(axis=-1, keepdims=True)) ** (1 / temperature)
    color: NDArray[np.float64] = sharp @ BINS / sharp.sum(axis=-1, keepdims=True)
    return color


def _place(ab: ArrayLike) -> NDArray[np.intp]:
    """The row of `_table` for each color."""
    half = _LEVELS // 2
    whole = np.clip(np.rint(ab), -half, half - 1).astype(np.intp) + half
    place: NDArray[np.intp] = whole[..., 0] * _LEVELS + whole[..., 1]
    return place


@cache
def _table() -> tuple[Integers, Floats]:
    """What `soft_encode` returns, for every whole a and b: a row each, b running faster."""
    whole = np.arange(_LEVELS) - _LEVELS // 2
    a, b = ((whole[:, None] - center.astype(np.int32)) ** 2 for center in BINS.T)
    indices, squares = (np.empty((_LEVELS, _LEVELS, NEIGHBORS), np.int32) for _ in range(2))
    for row, distance in enumerate(a):
        # one number holds distance and bin, so that ties fall alike everywhere
        keys = ((distance + b) * len(BINS) + np.arange(len(BINS))).astype(np.int32)
        first = np.sort(np.partition(keys, NEIGHBORS, axis=1)[:, :NEIGHBORS], axis=1)
        squares[row], indices[row] = np.divmod(first, len(BINS))
    weights = np.exp((squares[..., :1] - squares) / (2 * SIGMA**2))
    weights /= weights.sum(axis=-1, keepdims=True)
    return indices.reshape(-1, NEIGHBORS), weights.reshape(-1, NEIGHBORS).astype(np.float32)


@cache
def _kernel() -> NDArray[np.float64]:
    """(Q, Q): what each bin (a column, summing to 1) gives to every bin when a distribution is smoothed."""
    squares = np.sum((BINS[:, None].astype(np.float64) - BINS) ** 2, axis=-1)
    shared = np.exp(-squares / (2 * SIGMA**2))
    kernel: NDArray[np.float64] = shared / shared.sum(axis=0)
    return kernel
