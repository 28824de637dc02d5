"""A map of points: two dimensions in which near points stay near."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

PERPLEXITY: Final = 30.0  # number of neighbors that count, as is usual
FEWEST: Final = 10  # points; of fewer, or equal ones, the first two components are the map
MOST: Final = 10_000  # points; of more a random sample is on the map, so that the time is bounded


def embed(points: npt.NDArray[np.floating[Any]], *, seed: int) -> npt.NDArray[np.float32]:
    """Embed points by t-SNE; one thread, so that the same points give the same map on one machine.

    Args:
        points: (n, width) principal components.
        seed: Of the sample and of the approximate search for neighbors.

    Returns:
        (n, 2) from -1 to 1; NaN for points outside the sample.

    Source:
        P. Poličar, M. Stražar and B. Zupan, openTSNE: a modular Python library for t-SNE, JSS 2024.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(points))[:MOST])
    found = np.full((len(points), 2), np.nan, np.float32)
    if len(points) < FEWEST or not points.var(axis=0).any():
        found[:, : points.shape[1]] = points[:, :2]
        found = np.nan_to_num(found)
    else:
        found[chosen] = _tsne(points[chosen], seed)
    middle = (np.nanmax(found, axis=0) + np.nanmin(found, axis=0)) / 2
    found -= middle
    scaled: npt.NDArray[np.float32] = found / max(float(np.nanmax(np.abs(found))), 1e-12)
    return scaled


def _tsne(points: npt.NDArray[np.floating[Any]], seed: int) -> npt.NDArray[Any]:
    from openTSNE import TSNE

    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1).fit(points))
