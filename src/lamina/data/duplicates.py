"""Near duplicates: pictures that are copies of one another but for encoding, size or a little light."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd

LIGHT_LEVELS: Final = 4.0  # how far the mean of any channel may be apart
MEAN_LEVELS: Final = 2.0  # mean difference of thumbnails, light differences taken out
WORST_LEVELS: Final = 16.0  # largest difference of a thumbnail's pixel, light differences taken out

_BLOCKS: Final = 4  # of a thumbnail's side, by whose mean colors candidates are found
_SLACK: Final = 1.001  # for float32, which may be off by one part in ten thousand here
_ROWS, _COLUMNS = 512, 4_096  # of a table of distances: 8 MiB
_COMPARED: Final = 4_096  # pairs that are compared at once: 32 MiB


def near_duplicate_groups(thumbnails: np.ndarray) -> np.ndarray:
    """Number the groups of pictures whose thumbnails are nearly the same.

    thumbnails: (n, side, side, 3) uint8, side a multiple of 4. Returns (n,) int group numbers; a picture that
    resembles no other is alone in its group. Candidates come from mean colors of blocks, which miss no pair, and
    are then compared pixel by pixel. Memory for pairs is bounded, however many pictures look alike; the time grows
    with the pairs of pictures of about the same light.
    """
    number, first = _distinct(thumbnails)
    distinct = thumbnails[first]
    group = np.arange(len(distinct))
    for pairs in _candidates(distinct):
        pairs = pairs[group[pairs[:, 0]] != group[pairs[:, 1]]]  # the others are one group already
        group = joined(group, pairs[_same_picture(distinct[pairs[:, 0]], distinct[pairs[:, 1]])])
    groups: np.ndarray = group[number]
    return groups


def _distinct(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number thumbnails, the same ones alike: (n,) numbers, and where each number comes first."""
    numbers: dict[bytes, int] = {}
    number = np.array([numbers.setdefault(one.tobytes(), len(numbers)) for one in thumbnails], dtype=np.intp)
    return number, np.unique(number, return_index=True)[1]


def _candidates(thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pairs, (at most `_COMPARED`, 2) indices, among which are all pairs that `_same_picture` takes for one.

    Let e be the difference of such a pair, light differences taken out. Then
    mean(e^2) <= max|e| mean|e| <= WORST_LEVELS MEAN_LEVELS, and means over blocks have no larger mean square, and no
    larger mean absolute value, than e itself (Jensen). So the pair's block means, each picture's own light taken
    out, differ by at most that in the mean square (quickly told of many), and by MEAN_LEVELS in the mean.
    Only pictures whose light is near enough are looked at: they stand together when sorted by it.
    """
    light, blocks = _light_and_blocks(thumbnails)
    order = np.argsort(light, kind="stable")
    light, blocks = light[order], blocks[order]
    farthest = np.searchsorted(light, light + LIGHT_LEVELS * _SLACK, side="right")
    limit = WORST_LEVELS * MEAN_LEVELS * blocks.shape[1] * _SLACK
    # |a - b|^2 <= limit is a.b - |a|^2/2 - |b|^2/2 >= -limit/2: one product of matrices and one comparison
    half, one = (blocks**2).sum(axis=1, keepdims=True) / 2, np.ones((len(blocks), 1), np.float32)
    left, right = np.hstack([blocks, -half, one]), np.hstack([blocks, one, -half])
    for row in range(0, len(order), _ROWS):
        for column in range(row, farthest[min(row + _ROWS, len(order)) - 1], _COLUMNS):
            near = left[row : row + _ROWS] @ right[column : column + _COLUMNS].T >= -limit / 2
            pairs = np.add(np.argwhere(near), (row, column))
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
            for start in range(0, len(pairs), _COMPARED):
                some = pairs[start : start + _COMPARED]
                apart = np.abs(blocks[some[:, 0]] - blocks[some[:, 1]]).mean(axis=1)
                yield order[some[apart <= MEAN_LEVELS * _SLACK]]


def _light_and_blocks(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each thumbnail, (n,), and its blocks' means, its light taken out by channel: (n, 48) float32."""
    count, side = thumbnails.shape[:2]
    block = side // _BLOCKS
    means = thumbnails.reshape(count, _BLOCKS, block, _BLOCKS, block, 3).mean(axis=(2, 4), dtype=np.float32)
    light = means.mean(axis=(1, 2), keepdims=True)
    return light.mean(axis=(1, 2, 3)), (means - light).reshape(count, 3 * _BLOCKS**2)


def _same_picture(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether pictures, (n, side, side, 3) uint8 each, are the same by the three bounds above: (n,) bool."""
    difference = (left.astype(np.float32) - right).reshape(len(left), left.shape[1] ** 2, 3)
    light = difference.mean(axis=1, keepdims=True)
    difference = np.abs(difference - light)
    same: np.ndarray = (
        (np.abs(light).max(axis=(1, 2)) <= LIGHT_LEVELS)
        & (difference.mean(axis=(1, 2)) <= MEAN_LEVELS)
        & (difference.max(axis=(1, 2)) <= WORST_LEVELS)
    )
    return same


def joined(group: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Make the groups of each pair one; a group keeps no number of its own.

    group: (n,) numbers below n; pairs: (k, 2) places in it.
    """
    if not len(pairs):
        return group
    numbers: np.ndarray = _components(group[pairs[:, 0]], group[pairs[:, 1]], len(group))[group]
    return numbers


def _components(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """Number the connected components of a graph of `count` nodes with edges from `left` to `right`: (count,) int."""
    from scipy.sparse import coo_array  # takes a while, and many sets hold nothing twice
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    numbers: np.ndarray = connected_components(graph, directed=False)[1]
    return numbers


def merge_origins(origins: pd.Series, groups: np.ndarray) -> pd.Series:
    """Make origins that share a near duplicate one origin, named by the first of their names.

    origins: (n,) strings; groups: (n,) group numbers. Merging is transitive: two slides that share a
    picture are one slide.
    """
    if len(np.unique(groups)) == len(groups):
        return origins.astype(object)
    codes, names = pd.factorize(origins, sort=True)
    component = _components(codes, len(names) + groups, len(names) + int(groups.max()) + 1)[codes]
    first = pd.Series(codes).groupby(component).transform("min")
    return pd.Series(names[first], index=origins.index, name=origins.name, dtype=object)
