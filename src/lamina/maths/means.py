"""Means over pictures: intervals and paired tests that treat whole origins as the independent units.

Pictures of one origin are not independent, so these methods leave out or exchange whole origins.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Doubles = NDArray[np.float64]

DRAWS: Final = 9999  # random sign flips, if there are too many to try all
_ALL_SIGNS: Final = 16  # up to so many origins, all sign flips are tried


def mean_interval(values: ArrayLike, origin: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Compute the 95 % interval of a mean over pictures.

    This is the jackknife, leaving out one origin at a time, with Student's t (origins - 1 degrees of freedom). Coverage
    in our simulations (origins of 1 to 8 pictures): at least 93 % for normal values; for errors that differ much
    between origins (standard deviation as large as the mean), 87 % with 15 origins and 90 % with 40. The linearized
    variance of a ratio gives almost the same intervals, but covers 77 % instead of 85 % if weights differ much and
    origins are few.

    Args:
        values: (n,), of any sign; differences of paired values are fine.
        origin: (n,) origin of each picture.
        weights: (n,) above 0, for a weighted mean; None: all equal.

    Returns:
        (low, high). With one origin (-inf, inf), as nothing shows how origins differ.

    Raises:
        ValueError: if there are no pictures, or if lengths differ.

    Source:
        The jackknife of a ratio: W. G. Cochran, Sampling Techniques, 1977, section 6.17.
    """
    sums, sizes = _by_origin(values, origin, weights)
    origins, mean = len(sums), float(sums.sum() / sizes.sum())
    if origins == 1:
        return -np.inf, np.inf
    without_one = (sums.sum() - sums) / (sizes.sum() - sizes)
    variance = np.sum((without_one - mean) ** 2) * (origins - 1) / origins
    half = float(stdtrit(origins - 1, 0.975) * np.sqrt(variance))
    return mean - half, mean + half


def paired_mean_test(before: ArrayLike, after: ArrayLike, origin: ArrayLike) -> float:
    """Test whether two systems have the same mean error on the same pictures: two-sided.

    If neither system is better, exchanging the errors of an origin between them changes nothing. p is the share of such
    exchanges that give a difference at least as large as the observed one. With up to 16 origins that differ, all
    exchanges are tried; otherwise 9,999 random ones and the observed one. Then p is at least 1e-4, and near 0.01 its
    random error is about a tenth of it; the draws are fixed, so that the same errors give the same p. (A rank test
    would
    answer another question: the gate compares means.)

    Args:
        before: (n,) errors of the first system.
        after: (n,) errors of the second system; row i of both is picture i.
        origin: (n,) origin of each picture.

    Returns:
        p in (0, 1]; 1 if there is no difference at all.

    Raises:
        ValueError: if there are no pictures, or if lengths differ.

    Source:
        The sign-flip permutation test (R. A. Fisher, The Design of Experiments, 1935, section 21), over clusters;
        B. Phipson and G. K. Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010) 39, for random
        permutations.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"expected the same pictures before and after, got {first.size} and {second.size}")
    sums, _ = _by_origin(second - first, origin)
    sizes = np.sort(np.abs(sums[sums != 0]))
    if not sizes.size:
        return 1.0
    observed = abs(sums.sum()) - 1e-9 * sizes.sum()  # sums that differ by rounding only count as equal
    if len(sizes) <= _ALL_SIGNS:
        return float(np.mean(np.abs(_all_sums(sizes)) >= observed))
    return float((1 + np.sum(np.abs(_drawn_sums(sizes)) >= observed)) / (1 + DRAWS))


def _by_origin(values: ArrayLike, origin: ArrayLike, weights: ArrayLike | None = None) -> tuple[Doubles, Doubles]:
    """Sum of weighted values, and sum of weights, for each origin."""
    numbers, origins = np.asarray(values, np.float64), np.asarray(origin, dtype=object)
    shares = np.ones(numbers.shape) if weights is None else np.asarray(weights, np.float64)
    if not numbers.size or not numbers.shape == origins.shape == shares.shape:
        raise ValueError(f"expected one or more pictures, each with its origin, got {numbers.size} and {origins.size}")
    _, group = np.unique(origins, return_inverse=True)
    sums, sizes = (np.bincount(group, weights=of).astype(np.float64) for of in (numbers * shares, shares))
    return sums, sizes


def _all_sums(sizes: Doubles) -> Doubles:
    """The sums for every choice of signs; one of each pair of opposite choices."""
    sums = sizes[:1]
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _drawn_sums(sizes: Doubles) -> Doubles:
    """(DRAWS,) sums for random signs; the draws depend on the number of origins alone."""
    random = np.random.default_rng(0)
    parts = np.array_split(np.arange(DRAWS), 1 + DRAWS * len(sizes) // 100_000)  # small enough for the cache
    signs = (random.integers(0, 2, (len(rows), len(sizes)), dtype=np.int8) for rows in parts)
    return np.asarray(np.concatenate([2 * (part @ sizes) for part in signs]) - sizes.sum())
