"""Near duplicates: copies that differ only in encoding, size or slightly in brightness.

How far copies may differ follows the data: where most pictures are alike anyway, as those of a fixed camera, copies
must be far nearer than different pictures are to each other.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd

# Largest bounds in grey levels. "Light" is the mean difference of a channel over the whole thumbnail.
LIGHT_LEVELS: Final = 4.0  # largest light of any channel
MEAN_LEVELS: Final = 2.0  # mean absolute difference after the light is subtracted
WORST_LEVELS: Final = 16.0  # largest absolute difference after the light is subtracted

ALIKE: Final = 0.2  # share of all pairs; where as many are alike, to be alike does not mean to be a copy
NEAREST: Final = 0.05  # share of the pictures among which there may be copies of one
ENOUGH: Final = 50  # pictures; fewer do not show how much those of a set differ

_SAMPLE: Final = 100  # pictures that show it
_BLOCKS: Final = 4  # per side of a thumbnail; their mean colors select candidates
_SLACK: Final = 1.001  # rounding of float32, here at most one part in ten thousand
_ROWS, _COLUMNS = 512, 4_096  # block of the distance matrix: 8 MiB
_COMPARED: Final = 4_096  # pairs compared at once: 32 MiB


def near_duplicate_groups(thumbnails: np.ndarray) -> np.ndarray:
    """Number the groups of pictures with nearly equal thumbnails.

    Candidate pairs come from the mean colors of blocks, which miss no pair, and are then compared pixel by pixel.
    Memory for pairs is bounded; the time grows with the number of pairs of about the same brightness.

    Args:
        thumbnails: (n, side, side, 3) uint8, side a multiple of 4.

    Returns:
        (n,) int group numbers; a picture without near duplicates has a group of its own.
    """
    number, first = _distinct(thumbnails)
    distinct = thumbnails[first]
    group, bounds = np.arange(len(distinct)), find_bounds(distinct)
    for pairs in _candidates(distinct, bounds.max(axis=0)):
        left, right = pairs[group[pairs[:, 0]] != group[pairs[:, 1]]].T  # skip pairs that are in one group already
        same = _same_picture(distinct[left], distinct[right], np.minimum(bounds[left], bounds[right]))
        group = merge_groups(group, np.stack([left, right], axis=1)[same])
    groups: np.ndarray = group[number]
    return groups


def find_bounds(thumbnails: np.ndarray) -> np.ndarray:
    """Find how far a near duplicate of each picture may differ from it after the light is subtracted.

    Where at least a fifth of all pairs is alike, as those of a fixed camera, near duplicates of a picture must be twice
    as near as all but the nearest 5 % of the pictures.

    Args:
        thumbnails: (n, side, side, 3) uint8, all different.

    Returns:
        (n, 2) grey levels: on the mean, and anywhere.
    """
    usual = np.full((len(thumbnails), 2), (MEAN_LEVELS, WORST_LEVELS))
    if len(thumbnails) < ENOUGH:
        return usual
    some = thumbnails[np.random.default_rng(5).choice(len(thumbnails), min(_SAMPLE, len(thumbnails)), replace=False)]
    pairs = np.stack(np.triu_indices(len(some), 1))
    apart = np.quantile(_differences(some[pairs[0]], some[pairs[1]])[:, 1:], ALIKE, axis=0)
    if (apart > 2 * usual[0]).any():
        return usual
    apart = np.stack([_differences(some, thumbnail[None])[:, 1:] for thumbnail in thumbnails])
    lower: np.ndarray = np.minimum(usual, np.quantile(apart, NEAREST, axis=1) / 2)
    return lower


def _distinct(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) numbers, equal for identical thumbnails, and the index where each number occurs first."""
    numbers: dict[bytes, int] = {}
    number = np.array([numbers.setdefault(one.tobytes(), len(numbers)) for one in thumbnails], dtype=np.intp)
    return number, np.unique(number, return_index=True)[1]


def _candidates(thumbnails: np.ndarray, bounds: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pairs, (at most `_COMPARED`, 2) indices; every pair that `_same_picture` accepts is among them.

    Let e be the difference of an accepted pair after its light is subtracted, and `mean` and `worst` the largest bounds
    of any picture. Then mean(e^2) <= max|e| mean|e| <= worst mean. By Jensen's inequality, means over blocks have no
    larger mean square and no larger mean absolute value than e itself. So the block means differ by at most worst mean
    in the mean square (fast to test for many pairs) and by `mean` in the mean.
    Pictures are sorted by brightness, so that only neighbors within `LIGHT_LEVELS` are compared. Where most pictures
    are alike, most pairs would be candidates by their blocks, so that there each pixel is a block.
    """
    mean, worst = bounds
    light, blocks = _light_and_blocks(thumbnails, _BLOCKS if mean == MEAN_LEVELS else thumbnails.shape[1])
    order = np.argsort(light, kind="stable")
    light, blocks = light[order], blocks[order]
    farthest = np.searchsorted(light, light + LIGHT_LEVELS * _SLACK, side="right")
    limit = worst * mean * blocks.shape[1] * _SLACK
    # |a - b|^2 <= limit is a.b - |a|^2/2 - |b|^2/2 >= -limit/2: one matrix product and one comparison
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
                yield order[some[apart <= mean * _SLACK]]


def _light_and_blocks(thumbnails: np.ndarray, side_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each thumbnail, (n,), and means of its blocks minus its mean color, (n, 3 side_blocks**2); float32."""
    count, side = thumbnails.shape[:2]
    block = side // side_blocks
    means = thumbnails.reshape(count, side_blocks, block, side_blocks, block, 3).mean(axis=(2, 4), dtype=np.float32)
    light = means.mean(axis=(1, 2), keepdims=True)
    return light.mean(axis=(1, 2, 3)), (means - light).reshape(count, 3 * side_blocks**2)


def _same_picture(left: np.ndarray, right: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Whether pictures (n, side, side, 3) uint8 are the same by `LIGHT_LEVELS` and (n, 2) bounds: (n,) bool."""
    within: np.ndarray = _differences(left, right) <= np.insert(bounds, 0, LIGHT_LEVELS, axis=1)
    return np.asarray(within.all(axis=1))


def _differences(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Largest light of any channel, mean and largest absolute difference after it is subtracted: (n, 3)."""
    difference = (left.astype(np.float32) - right).reshape(len(left), left.shape[1] ** 2, 3)
    light = difference.mean(axis=1, keepdims=True)
    difference = np.abs(difference - light)
    found = [np.abs(light).max(axis=(1, 2)), difference.mean(axis=(1, 2)), difference.max(axis=(1, 2))]
    return np.stack(found, axis=1)


def merge_groups(group: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Merge the groups of each pair.

    Args:
        group: (n,) group numbers below n.
        pairs: (k, 2) indices into `group`.

    Returns:
        (n,) new group numbers.
    """
    if not len(pairs):
        return group
    numbers: np.ndarray = _components(group[pairs[:, 0]], group[pairs[:, 1]], len(group))[group]
    return numbers


def _components(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """Number the connected components of a graph of `count` nodes with edges from `left` to `right`: (count,) int."""
    from scipy.sparse import coo_array  # slow to import, and many data sets have no duplicates
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    numbers: np.ndarray = connected_components(graph, directed=False)[1]
    return numbers


def merge_origins(origins: pd.Series, groups: np.ndarray) -> pd.Series:
    """Merge origins that share a near duplicate; merging is transitive.

    Args:
        origins: (n,) strings.
        groups: (n,) group numbers of near duplicates.

    Returns:
        (n,) strings: a merged origin has the alphabetically first of its names.
    """
    if len(np.unique(groups)) == len(groups):
        return origins.astype(object)
    codes, names = pd.factorize(origins, sort=True)
    component = _components(codes, len(names) + groups, len(names) + int(groups.max()) + 1)[codes]
    first = pd.Series(codes).groupby(component).transform("min")
    return pd.Series(names[first], index=origins.index, name=origins.name, dtype=object)
