"""What a colorization is worth: intervals and tests over origins."""

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

EXACT = 12  # origins that changed, up to which all their signs are tried
DRAWS = 9_999
AT_ONCE = 256


def mean_interval(values: ArrayLike, origin: ArrayLike) -> tuple[float, float]:
    """Give the 95 % interval of a mean over pictures, counted over origins.

    values: (n,); origin: (n,). Returns (low, high); one origin cannot show how origins differ: (-inf, inf).
    Source: the variance of a ratio over clusters, W. G. Cochran, Sampling Techniques, 1977, section 9A.
    """
    found, sums, sizes = np.asarray(values, float), *_by_origin(values, origin)
    origins = len(sums)
    if origins < 2:
        return -np.inf, np.inf
    mean = float(found.mean())
    variance = np.sum((sums - mean * sizes) ** 2) * origins / (origins - 1) / sizes.sum() ** 2
    half = float(t.ppf(0.975, origins - 1)) * float(np.sqrt(variance))
    return mean - half, mean + half


def regression_test(before: ArrayLike, after: ArrayLike, origin: ArrayLike) -> float:
    """Test whether two colorizers are equally far off on the same pictures: two-sided, paired, over origins.

    before, after: (n,), row i of both for picture i; origin: (n,). Returns p in (0, 1]; 1 where nothing differs.
    Source: the sign-flip permutation test (R. A. Fisher, The Design of Experiments, 1935, section 21), over clusters.
    """
    sums, _ = _by_origin(np.asarray(after, float) - np.asarray(before, float), origin)
    sums = sums[sums != 0]
    if not sums.size:
        return 1.0
    # sums of the same numbers in another order differ in their last digits
    bound = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    if len(sums) <= EXACT:
        flips = np.array(list(product((-1, 1), repeat=len(sums))))
        return float(np.mean(np.abs(flips @ sums) >= bound))
    draw, extreme = np.random.default_rng(0), 0
    for start in range(0, DRAWS, AT_ONCE):
        flips = draw.integers(0, 2, (min(AT_ONCE, DRAWS - start), len(sums)), dtype=np.int8)
        extreme += int(np.sum(np.abs((2.0 * flips - 1) @ sums) >= bound))
    return (1 + extreme) / (1 + DRAWS)


def _by_origin(values: ArrayLike, origin: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    _, group = np.unique(np.asarray(origin, dtype=object), return_inverse=True)
    return np.bincount(group, weights=np.asarray(values, float)).astype(float), np.bincount(group)
