"""Finds the pairs of pictures that may be near duplicates, without comparing all pairs.

Each picture is a point of a few numbers in which near duplicates differ little. Only pictures of leaves of points that
lie near each other are compared, by the mean colors of blocks.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from lamina.data.leaves import Floats, Integers, boxes, divide

BLOCKS: Final = 8  # per side of a thumbnail; larger blocks are faster to compare, but let pass many more pairs

_COMPONENTS: Final = 6  # principal components of the block means
_SAMPLE: Final = 4_096  # pictures that show them
_LEAF: Final = 256  # most pictures of a leaf
_CACHED: Final = 32 * 2**20  # bytes of block means
_CHUNK: Final = 4_096  # pictures or pairs at once: 3 MiB of block means
_SLACK: Final = 1.001  # of limits; float32 rounds by one part in ten thousand here
# for limits that are very small: grey levels of a mean over blocks, units of a point, share of a squared length
_MEAN_ROUNDING, _REACH_ROUNDING, _SQUARE_ROUNDING = 2e-4, 0.01, 1e-6


def near_pairs(
    thumbnails: np.ndarray,
    places: Integers,
    light: float,
    bounds: npt.NDArray[np.float64],
    group_of: Callable[[Integers], Integers],
    side_blocks: int,
) -> Iterator[Integers]:
    """Find all pairs of pictures that may be near duplicates, but for pairs that are in one group already.

    Let e be the difference of near duplicates after the light is subtracted, and `mean` and `worst` the bounds of one
    of them. Then mean(e^2) <= max|e| mean|e| <= worst mean. By Jensen's inequality, means over blocks have no larger
    mean square and no larger mean absolute value than e itself. So the block means differ by at most worst mean in the
    mean square (fast to test for many pairs) and by `mean` in the mean. Their principal components differ no more, nor
    do their mean absolute values.

    Args:
        thumbnails: (N, side, side, 3) uint8.
        places: (n,) of the pictures among the thumbnails.
        light: Largest difference of the mean of a channel of near duplicates, in grey levels.
        bounds: (n, 2) grey levels: how far near duplicates of each picture differ from it at most after the light is
            subtracted, on the mean and anywhere.
        group_of: Function from pictures, numbers below n, to their groups, which may grow while this searches.
        side_blocks: Blocks per side, which divide that of the thumbnails.

    Yields:
        (k, 2) numbers of pictures, k from 1 to about 8,000.
    """
    search = _Search(thumbnails, places, light, bounds, side_blocks)
    found: list[Integers] = []
    for here, there in search.near_leaves():
        for pairs in search.compare(here, there, group_of):
            found.append(pairs)
            if sum(map(len, found)) >= _CHUNK:
                yield np.concatenate(found)
                found = []
    if found:
        yield np.concatenate(found)


class _Search:
    """Leaves of points: light of each channel, contrast (mean absolute value of blocks) and principal components.

    From the blocks of all pictures those of a mean picture are subtracted, which keeps rounding small.
    """

    def __init__(
        self,
        thumbnails: np.ndarray,
        places: Integers,
        light: float,
        bounds: npt.NDArray[np.float64],
        side_blocks: int,
    ) -> None:
        sample = np.random.default_rng(5).choice(len(places), min(len(places), _SAMPLE), replace=False)
        _, blocks = light_and_blocks(thumbnails[places[sample]], side_blocks)
        middle = blocks.mean(axis=0)

        def read(pictures: Integers) -> tuple[Floats, Floats]:
            lights, blocks = light_and_blocks(thumbnails[places[pictures]], side_blocks)
            return lights, blocks - middle

        self.mean = bounds[:, 0] * _SLACK + _MEAN_ROUNDING
        self.radius = np.sqrt(bounds.prod(axis=1) * blocks.shape[1]) * _SLACK + _REACH_ROUNDING
        self.points = _points(read, len(places), _principal_axes(blocks - middle))
        reach = np.repeat([light, bounds[:, 0].max()], [3, 1]) * _SLACK + _REACH_ROUNDING
        self.reach = np.append(reach, np.full(self.points.shape[1] - 4, self.radius.max())).astype(np.float32)
        self.leaves = leaves = divide(self.points, self.reach, _LEAF)
        self.low, self.high = boxes(self.points, self.leaves)
        cached = max(2, _CACHED // (blocks.itemsize * blocks.shape[1] * _LEAF))
        self.blocks_of = lru_cache(cached)(lambda leaf: read(leaves[leaf])[1])  # not `self`, which would hold itself

    def near_leaves(self) -> Iterator[tuple[int, int]]:
        """Yield pairs of leaves whose boxes are within reach, each leaf also with itself."""
        for here in range(len(self.leaves)):
            gap = np.maximum(self.low[here:] - self.high[here], self.low[here] - self.high[here:])
            for there in here + np.flatnonzero((gap <= self.reach).all(axis=1)):
                yield here, int(there)

    def compare(self, here: int, there: int, group_of: Callable[[Integers], Integers]) -> Iterator[Integers]:
        """Yield the pairs of two leaves that may be near duplicates: (at most `_CHUNK`, 2) numbers of pictures."""
        rows, columns = self._within_reach(here, there), self._within_reach(there, here)
        left, right = self.leaves[here][rows], self.leaves[there][columns]
        apart = group_of(left)[:, None] != group_of(right)
        if not apart.any():
            return
        here_blocks, there_blocks = self.blocks_of(here)[rows], self.blocks_of(there)[columns]
        apart &= _are_near(here_blocks, there_blocks, min(self.radius[left].max(), self.radius[right].max()))
        if here == there:
            apart &= rows[:, None] < columns
        pairs = np.argwhere(apart)
        for start in range(0, len(pairs), _CHUNK):
            some = pairs[start : start + _CHUNK]
            found = np.stack([left[some[:, 0]], right[some[:, 1]]], axis=1)
            near = (np.abs(self.points[found[:, 0], :4] - self.points[found[:, 1], :4]) <= self.reach[:4]).all(axis=1)
            some, found = some[near], found[near]
            far = np.abs(here_blocks[some[:, 0]] - there_blocks[some[:, 1]]).mean(axis=1)
            found = found[far <= self.mean[found].min(axis=1)]
            if len(found):
                yield found

    def _within_reach(self, leaf: int, other: int) -> Integers:
        """The points of a leaf that are within reach of the box of another one: numbers in the leaf."""
        points = self.points[self.leaves[leaf]]
        near = (points >= self.low[other] - self.reach) & (points <= self.high[other] + self.reach)
        return np.flatnonzero(near.all(axis=1))


def light_and_blocks(thumbnails: np.ndarray, side_blocks: int) -> tuple[Floats, Floats]:
    """Compute the mean color of each thumbnail, and the means of its blocks minus that.

    Args:
        thumbnails: (n, side, side, 3) uint8.
        side_blocks: Blocks per side, which divide that of the thumbnails.

    Returns:
        (n, 3) and (n, 3 side_blocks**2) float32, grey levels.
    """
    block = thumbnails.shape[1] // side_blocks
    means = np.zeros((len(thumbnails), side_blocks, side_blocks, 3), np.float32)
    for place in range(block**2):
        means += thumbnails[:, place // block :: block, place % block :: block]
    means /= block**2
    light = means.mean(axis=(1, 2))
    means -= light[:, None, None]
    return light, means.reshape(len(thumbnails), -1)


def _principal_axes(blocks: Floats) -> Floats:
    """The directions, (d, `_COMPONENTS`), in which block means, (n, d) with mean 0, vary most."""
    axes: Floats = np.linalg.eigh(blocks.T @ blocks)[1][:, -_COMPONENTS:]
    return axes


def _points(read: Callable[[Integers], tuple[Floats, Floats]], count: int, axes: Floats) -> Floats:
    """The points of all pictures, (count, 4 + `_COMPONENTS`) float32."""
    points = []
    for start in range(0, count, _CHUNK):
        light, blocks = read(np.arange(start, min(start + _CHUNK, count)))
        points.append(np.hstack([light, np.abs(blocks).mean(axis=1, keepdims=True), blocks @ axes]))
    return np.concatenate(points)


def _are_near(left: Floats, right: Floats, radius: float) -> npt.NDArray[np.bool_]:
    """Whether the distance of block means, (n, d) and (m, d), is at most a radius: (n, m)."""
    # |a - b|^2 <= radius^2 is a.b - |a|^2/2 >= |b|^2/2 - radius^2/2
    here, there = ((blocks**2).sum(axis=1) for blocks in (left, right))
    product = left @ right.T
    product -= here[:, None] / 2
    limit = np.float32(radius**2 + _SQUARE_ROUNDING * (here.max() + there.max()))
    near: npt.NDArray[np.bool_] = product >= (there - limit) / 2
    return near
