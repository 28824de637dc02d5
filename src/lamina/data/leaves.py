"""Divides points into leaves: parts of neighbors, so that a search need not compare all with all.

Source: J. L. Bentley, Multidimensional Binary Search Trees Used for Associative Searching, 1975.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]

_CHUNK: Final = 65_536  # points that are copied at once


def divide(points: Floats, scale: Any, most: int) -> list[Integers]:
    """Halve points where they spread most, again and again, until no part has more than `most`.

    Args:
        points: (n, d) float32.
        scale: In which spreads are measured: a number, or one per dimension.
        most: Of a leaf.

    Returns:
        For each leaf the ascending numbers of its points.
    """

    def halved(part: Integers) -> list[Integers]:
        if len(part) <= most:
            return [np.sort(part)]
        low, high = _box(points, part)
        widest = points[part, ((high - low) / scale).argmax()]
        halves = np.array_split(part[np.argpartition(widest, len(part) // 2)], 2)
        return [leaf for half in halves for leaf in halved(half)]

    return halved(np.arange(len(points)))


def boxes(points: Floats, leaves: list[Integers]) -> tuple[Floats, Floats]:
    """The smallest and the largest values of each leaf: (leaves, d) each."""
    low, high = zip(*(_box(points, leaf) for leaf in leaves), strict=True)
    return np.stack(low), np.stack(high)


def _box(points: Floats, part: Integers) -> tuple[Floats, Floats]:
    """The smallest and the largest values of some points: (d,) each."""
    chunks = (points[part[start : start + _CHUNK]] for start in range(0, len(part), _CHUNK))
    lows, highs = zip(*((chunk.min(axis=0), chunk.max(axis=0)) for chunk in chunks), strict=True)
    return np.min(lows, axis=0), np.max(highs, axis=0)
