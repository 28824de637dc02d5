"""How far a picture lies from those that a classifier learned from."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

NEIGHBOR: Final = 10  # the distance is that to the nearest but nine: one odd picture alone makes no neighborhood
REFERENCE: Final = 1000  # training pictures that are kept: Sun et al. keep 1 % of ImageNet
_AT_ONCE: Final = 1024

Floats = NDArray[np.float32]


def unit_rows(features: NDArray[np.floating]) -> Floats:
    """Scale each row of features, (n, width), to length 1; a row of zeros stays."""
    values = np.asarray(features, dtype=np.float32)
    scaled: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return scaled


def distances(features: NDArray[np.floating], reference: NDArray[np.floating], neighbor: int = NEIGHBOR) -> Floats:
    """Compute the distance of each picture to its k-th nearest reference picture: high for what was never learned.

    Args:
        features: (n, width) of `unit_rows`.
        reference: (m, width) of `unit_rows`, at least one.
        neighbor: k; the farthest where there are fewer.

    Returns:
        (n,) Euclidean distances, 0 to 2.

    Source:
        Y. Sun, Y. Ming, X. Zhu and Y. Li, Out-of-distribution detection with deep nearest neighbors, ICML 2022.
    """
    known, k = np.asarray(reference, dtype=np.float32), min(neighbor, len(reference)) - 1
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(features), _AT_ONCE):
        likeness = np.asarray(features[start : start + _AT_ONCE], dtype=np.float32) @ known.T
        nearest = -np.partition(-likeness, k, axis=1)[:, k]
        found.append(np.sqrt(np.maximum(2 - 2 * nearest, 0)))
    return np.concatenate(found)
