"""Near duplicates: copies that differ only in encoding, size or slightly in brightness.

How far copies may differ follows the data: where most pictures are alike anyway, as those of a fixed camera, copies
must be far nearer than different pictures are to each other.
"""

from hashlib import blake2b
from typing import Final

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from lamina.data.candidates import BLOCKS, near_pairs
from lamina.data.leaves import Integers

# Largest bounds in grey levels. "Light" is the mean difference of a channel over the whole thumbnail.
LIGHT_LEVELS: Final = 4.0  # largest light of any channel
MEAN_LEVELS: Final = 2.0  # mean absolute difference after the light is subtracted
WORST_LEVELS: Final = 16.0  # largest absolute difference after the light is subtracted

ALIKE: Final = 0.2  # share of all pairs; where as many are alike, to be alike does not mean to be a copy
NEAREST: Final = 0.05  # share of the pictures among which there may be copies of one
ENOUGH: Final = 50  # pictures; fewer do not show how much those of a set differ

_SAMPLE: Final = 100  # pictures that show it
_COMPARED: Final = 512  # pairs compared at once; of more, many would be in one group by the first of them
_CHUNK: Final = 1_024  # pictures whose differences from the sample are held at once
_DIGEST: Final = 16  # bytes that stand for a thumbnail


def near_duplicate_groups(thumbnails: np.ndarray) -> np.ndarray:
    """Number the groups of pictures with nearly equal thumbnails.

    Candidate pairs come from `near_pairs`, which misses no pair, and are then compared pixel by pixel. Memory for pairs
    is bounded; the time grows with the number of pairs that are about as light, as rich in contrast and as colored.

    Args:
        thumbnails: (n, side, side, 3) uint8, side a multiple of 8.

    Returns:
        (n,) int group numbers; a picture without near duplicates has a group of its own.
    """
    number, first = _distinct(thumbnails)
    groups, bounds = Groups(len(first)), find_bounds(thumbnails, first)
    # where most pictures are alike, most pairs would be candidates by their blocks, so that there each pixel is one
    side_blocks = BLOCKS if np.median(bounds[:, 0]) == MEAN_LEVELS else thumbnails.shape[1]
    with threadpool_limits(1):  # matrices are small
        for found in near_pairs(thumbnails, first, LIGHT_LEVELS, bounds, groups.of, side_blocks):
            for start in range(0, len(found), _COMPARED):
                pairs = groups.apart(found[start : start + _COMPARED])
                left, right = (thumbnails[first[pictures]] for pictures in pairs.T)
                groups.merge(pairs[_same_picture(left, right, bounds[pairs].min(axis=1))])
    return groups.of(number)


def find_bounds(thumbnails: np.ndarray, places: Integers) -> np.ndarray:
    """Find how far a near duplicate of each picture may differ from it after the light is subtracted.

    Where at least a fifth of all pairs is alike, as those of a fixed camera, near duplicates of a picture must be twice
    as near as all but the nearest 5 % of the pictures.

    Args:
        thumbnails: (N, side, side, 3) uint8.
        places: (n,) of the pictures among them, which are all different.

    Returns:
        (n, 2) grey levels: on the mean, and anywhere.
    """
    bounds = np.full((len(places), 2), (MEAN_LEVELS, WORST_LEVELS))
    if len(places) < ENOUGH:
        return bounds
    chosen = np.random.default_rng(5).choice(len(places), min(_SAMPLE, len(places)), replace=False)
    some = thumbnails[places[chosen]]
    pairs = np.stack(np.triu_indices(len(some), 1))
    apart = np.quantile(_differences(some[pairs[0]], some[pairs[1]])[:, 1:], ALIKE, axis=0)
    if (apart > 2 * bounds[0]).any():
        return bounds
    for start in range(0, len(places), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        apart = np.stack([_differences(some, thumbnails[[place]])[:, 1:] for place in places[chunk]])
        bounds[chunk] = np.minimum(bounds[chunk], np.quantile(apart, NEAREST, axis=1) / 2)
    return bounds


def _distinct(thumbnails: np.ndarray) -> tuple[Integers, Integers]:
    """(n,) numbers, equal for identical thumbnails, and the index where each number occurs first."""
    digests = np.array([blake2b(one, digest_size=_DIGEST).digest() for one in thumbnails], f"S{_DIGEST}")
    _, first, place = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return np.argsort(order)[place], first[order]


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


class Groups:
    """Groups of pictures that grow together.

    Source: R. E. Tarjan, Efficiency of a Good But Not Linear Set Union Algorithm, 1975.
    """

    def __init__(self, count: int) -> None:
        """Give each of `count` pictures a group of its own."""
        self._parent = np.arange(count)  # the number of the group where a picture is its own parent

    def of(self, pictures: Integers) -> Integers:
        """Return the numbers of the groups of some pictures."""
        found = self._parent[pictures]
        while (found != pictures).any():
            pictures, found = found, self._parent[found]
        return found

    def apart(self, pairs: Integers) -> Integers:
        """Return the pairs, (k, 2) pictures, that are in different groups."""
        left, right = self.of(pairs.T)
        different: Integers = pairs[left != right]
        return different

    def merge(self, pairs: Integers) -> None:
        """Merge the groups of each pair, (k, 2) pictures."""
        if not len(pairs):
            return
        groups, numbers = np.unique(self.of(pairs), return_inverse=True)
        left, right = numbers.reshape(pairs.shape).T
        component = _components(left, right, len(groups))
        _, first = np.unique(component, return_index=True)
        self._parent[groups] = groups[first[component]]


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
