"""Near duplicates: pictures that are copies of one another but for encoding, size or a little light."""

from typing import Final

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

CANDIDATE_LEVELS: Final = 4.0  # how far any quadrant's mean color may be apart
MEAN_LEVELS: Final = 2.0  # mean difference of thumbnails, light differences taken out
WORST_LEVELS: Final = 16.0  # largest difference of a thumbnail's pixel
_CHUNK: Final = 65_536


def near_duplicate_groups(thumbnails: np.ndarray) -> np.ndarray:
    """Number the groups of pictures whose thumbnails are nearly the same.

    thumbnails: (n, side, side, 3) uint8, side even. Returns (n,) int group numbers; a picture that
    resembles no other is alone in its group. Candidates come from a k-d tree over the mean colors of the
    four quadrants, and are then compared pixel by pixel.
    """
    count, side = thumbnails.shape[:2]
    half = side // 2
    distinct, first = np.unique(thumbnails.reshape(count, -1), axis=0, return_inverse=True)
    quadrants = distinct.reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4), dtype=np.float32).reshape(-1, 12)
    pairs = cKDTree(quadrants).query_pairs(CANDIDATE_LEVELS, p=np.inf, output_type="ndarray")
    alike = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    alike = [chunk[_same_picture(distinct[chunk[:, 0]], distinct[chunk[:, 1]])] for chunk in alike]
    edges = np.concatenate([*alike, np.empty((0, 2), np.intp)])
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(len(distinct),) * 2)
    group: np.ndarray = connected_components(graph, directed=False)[1]
    return group[first.reshape(-1)]


def _same_picture(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    difference = (left.astype(np.int16) - right).reshape(len(left), -1, 3).astype(np.float32)
    difference -= difference.mean(axis=1, keepdims=True)
    difference = np.abs(difference).reshape(len(left), -1)
    same: np.ndarray = (difference.mean(axis=1) <= MEAN_LEVELS) & (difference.max(axis=1) <= WORST_LEVELS)
    return same


def merge_origins(origins: pd.Series, groups: np.ndarray) -> pd.Series:
    """Make origins that share a near duplicate one origin, named by the first of their names.

    origins: (n,) strings; groups: (n,) group numbers. Merging is transitive: two slides that share a
    picture are one slide.
    """
    codes, names = pd.factorize(origins, sort=True)
    size = len(names) + int(groups.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(codes), np.int8), (codes, len(names) + groups)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][codes]
    first = pd.Series(codes).groupby(component).transform("min")
    return pd.Series(names[first], index=origins.index, name=origins.name, dtype=object)
