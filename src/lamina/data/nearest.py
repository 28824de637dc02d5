"""Nearest neighbors, exactly, but without comparing all with all where the points spread unevenly."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from lamina.data.leaves import Floats, Integers, boxes, divide

_LEAF: Final = 256  # points, at most
_AT_ONCE: Final = 16  # leaves of the pool that are searched together, at most: long products leave other threads alone
_CHUNK: Final = 65_536  # points whose squares are held at once


def nearest_neighbors(
    queries: Floats, pool: Floats, origins: tuple[Integers, Integers] | None = None
) -> tuple[Integers, npt.NDArray[np.float64]]:
    """Find the nearest neighbor of each query in the pool.

    Leaves of neighboring queries search the leaves of the pool, nearest box first, as long as these may hold a nearer
    point. The time depends on the points: it grows hardly faster than their number where few directions hold most of
    the spread, and with queries times pool at worst.

    Args:
        queries: (n, d) float32.
        pool: (m, d) float32, m at least 1.
        origins: Origin numbers of queries (n,) and pool (m,). Where given, only neighbors of another origin count.

    Returns:
        (n,) indices into the pool (the first of equal ones) and (n,) Euclidean distances, infinite where every picture
        of the pool has the query's origin.
    """
    search = _Search(queries, pool, origins)
    best = np.zeros(len(queries), np.intp)
    parts = divide(queries, 1, _LEAF) if len(queries) else []
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as threads:  # matrix products and minima overlap
        for part, found in zip(parts, threads.map(search.nearest, parts), strict=True):
            best[part] = found
    distance = _distances(queries, pool, best)
    if origins is not None:
        distance[origins[0] == origins[1][best]] = np.inf
    return best, distance


def _distances(queries: Floats, pool: Floats, found: Integers) -> npt.NDArray[np.float64]:
    """The Euclidean distance of each query to the point that was found for it."""
    distance = np.empty(len(queries))
    for start in range(0, len(queries), _CHUNK):
        some = slice(start, start + _CHUNK)
        distance[some] = np.sqrt(((queries[some].astype(np.float64) - pool[found[some]]) ** 2).sum(axis=1))
    return distance


def _rounding(width: int) -> np.float32:
    """How far float32 may round a sum of so many products, as a share of the sum of their sizes.

    Source:
        N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, section 3.1.
    """
    return np.float32((width + 4) * np.finfo(np.float32).eps / 2)


class _Search:
    """The leaves of a pool."""

    def __init__(self, queries: Floats, pool: Floats, origins: tuple[Integers, Integers] | None) -> None:
        self.queries, self.pool, self.origins = queries, pool, origins
        self.leaves = divide(pool, 1, _LEAF)
        self.low, self.high = boxes(pool, self.leaves)
        chunks = (pool[start : start + _CHUNK] for start in range(0, len(pool), _CHUNK))
        self.half = np.concatenate([(chunk**2).sum(axis=1) for chunk in chunks]) / 2

    def nearest(self, part: Integers) -> Integers:
        """The nearest neighbors of some queries: places in the pool."""
        queries = self.queries[part]
        half = (queries**2).sum(axis=1) / 2
        # half the squared distance, without the query's own half; and where it was found
        least, best = np.full(len(part), np.inf, np.float32), np.zeros(len(part), np.intp)
        # both halves are rounded, and the product, which is not larger than they are; and the distance to a box
        share = _rounding(self.pool.shape[1])
        slack = 2 * share * (half + self.half.max())
        far = _far(queries.min(axis=0), queries.max(axis=0), self.low, self.high)
        order = np.argsort(far, kind="stable")
        start, count = 0, 1
        while start < len(order):
            limit = (least + half) * (1 + share) + slack
            leaves = order[start : start + count]
            leaves = leaves[far[leaves] <= limit.max()]
            if not len(leaves):
                break
            near = _far(queries[:, None], queries[:, None], self.low[leaves], self.high[leaves]) <= limit[:, None]
            some, leaves = np.flatnonzero(near.any(axis=1)), leaves[near.any(axis=0)]
            if len(some):
                points = np.sort(np.concatenate([self.leaves[leaf] for leaf in leaves]))
                place, found = self._among(points, part[some], queries[some])
                better = (found < least[some]) | ((found == least[some]) & (place < best[some]))
                least[some[better]], best[some[better]] = found[better], place[better]
            start, count = start + count, min(2 * count, _AT_ONCE)
        return best

    def _among(self, points: Integers, part: Integers, queries: Floats) -> tuple[Integers, Floats]:
        """The nearest of some points of the pool: its place, and half the squared distance without the query's half."""
        far = queries @ -self.pool[points].T
        far += self.half[points]
        place = far.argmin(axis=1)
        if self.origins is not None:
            own, others = self.origins[0][part], self.origins[1][points]
            wrong = np.flatnonzero(own == others[place])
            far[wrong] = np.where(own[wrong, None] == others, np.inf, far[wrong])
            place[wrong] = far[wrong].argmin(axis=1)
        return points[place], far[np.arange(len(far)), place]


def _far(low: Floats, high: Floats, other_low: Floats, other_high: Floats) -> Floats:
    """Half the squared distance of boxes to others; their corners (..., d) are broadcast against each other."""
    gap = np.maximum(low - other_high, other_low - high)
    np.maximum(gap, 0, out=gap)
    far: Floats = np.einsum("...d,...d->...", gap, gap) / 2
    return far
