"""How far a sample has moved from an accepted one, measured as the share of pictures that moved.

Next to each distance is its noise: two samples of the same distribution exceed it in about one case of a thousand, or
fewer. Sample sizes are numbers of independent pictures (see `independent`).
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

STEPS: Final = 20  # of the quantiles: 0, 5, ..., 100 %
ALPHA: Final = 0.001  # how often chance alone exceeds the noise, about
_TWO_SIDED: Final = NormalDist().inv_cdf(1 - ALPHA / 2)  # 3.29
_ONE_SIDED: Final = NormalDist().inv_cdf(1 - ALPHA)  # 3.09


def quantiles(values: ArrayLike) -> list[float]:
    """Compute the 0, 5, ..., 100 % quantiles, each of them one of the values.

    This is the inverse of the empirical distribution function; the 0 % quantile is the smallest value.

    Args:
        values: (n,), at least one.

    Returns:
        `STEPS` + 1 numbers.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    ranks = -(-np.arange(STEPS + 1) * len(ordered) // STEPS)  # rounded up, in integers: 0.05 is not exact
    return [float(value) for value in ordered[np.maximum(ranks, 1) - 1]]


def kolmogorov(accepted: Sequence[float], values: ArrayLike) -> float:
    """Compute the Kolmogorov-Smirnov distance: the share of pictures that moved past an accepted quantile.

    It is the smallest distance that a sample with the accepted quantiles can have: 0 for the accepted values
        themselves,
    with or without ties, and at most one step (5 %) less than the distance of the complete samples.

    Args:
        accepted: `quantiles` of the accepted values.
        values: (m,), at least one, rounded in the same way.

    Returns:
        The distance, 0 to 1.
    """
    ordered, points = np.sort(np.asarray(values, np.float64)), np.asarray(accepted, np.float64)
    levels = np.arange(len(points)) / (len(points) - 1)
    up_to, below = (np.searchsorted(ordered, points, side) / len(ordered) for side in ("right", "left"))
    return float(max(0.0, (levels - up_to).max(), (below - levels).max()))


def kolmogorov_noise(n: float, m: float) -> float:
    """Compute the noise of `kolmogorov`, valid for any distribution.

    Args:
        n: number of independent accepted pictures.
        m: number of independent new pictures.

    Source:
        The first term, an upper bound, of N. V. Smirnov's limit of the two-sample distance, Bull. Math. Univ. Moscou 2
        (1939) 3.
    """
    return math.sqrt(-math.log(ALPHA / 2) / 2 * (1 / n + 1 / m))


def total_variation(accepted: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Compute the share of pictures that changed class: half the sum of the absolute differences of the shares.

    Args:
        accepted: count or share of each class, not empty; a missing class counts as 0.
        now: the same for the new pictures.

    Returns:
        The distance, 0 to 1.
    """
    return math.fsum(abs(before - after) for before, after in _shares(accepted, now).values()) / 2


def total_variation_noise(accepted: Mapping[str, float], now: Mapping[str, float], n: float, m: float) -> float:
    """Compute the noise of `total_variation`.

    The distance is the largest difference of any group of classes. For samples that are not tiny, that is the largest
    of
    several normal variables: the noise is their mean (at most the sum of the classes' own means) plus the noise of the
    group with the largest variance.

    Args:
        accepted: see `total_variation`.
        now: see `total_variation`.
        n: number of independent accepted pictures.
        m: number of independent new pictures.

    Source:
        C. Borell, Inventiones Mathematicae 30 (1975) 207; the shares are those of both samples together.
    """
    pooled = [(n * before + m * after) / (n + m) for before, after in _shares(accepted, now).values()]
    spread = math.sqrt(1 / n + 1 / m)
    mean = math.fsum(math.sqrt(share * (1 - share)) for share in pooled) / math.sqrt(2 * math.pi)
    largest = max(pooled)
    deviation = math.sqrt(largest * (1 - largest)) if largest > 0.5 else 0.5  # of the group that varies most
    return spread * (mean + _ONE_SIDED * deviation)


def share_noise(accepted: float, now: float, n: float, m: float) -> float:
    """Compute the noise of the difference of two shares.

    Args:
        accepted: accepted share, 0 to 1.
        now: new share, 0 to 1.
        n: number of independent accepted pictures.
        m: number of independent new pictures.

    Source:
        The normal limit of two binomial shares. The common share is moved towards 1/2 as in A. Agresti and B. A. Coull,
        The American Statistician 52 (1998) 119, because the limit is too narrow for rare events.
    """
    pseudo = _TWO_SIDED**2  # pictures, half of which count as cases
    share = (n * accepted + m * now + pseudo / 2) / (n + m + pseudo)
    return _TWO_SIDED * math.sqrt(share * (1 - share) * (1 / n + 1 / m))


def may_miss(share: float, m: float) -> bool:
    """Whether a sample may lack a class by chance: more often than in one case of a thousand.

    Args:
        share: of the class, 0 to 1.
        m: number of independent pictures of the sample.
    """
    return share < 1 and m * math.log1p(-share) > math.log(ALPHA)


def independent(sizes: ArrayLike) -> float:
    """Compute the number of independent pictures: n^2 / sum of the squared sizes of the origins.

    This is a lower bound: it assumes that all pictures of an origin are the same. It is the number of origins if all
        have
    the same size, and less if a few are large.

    Args:
        sizes: number of pictures of each origin; at least one origin.

    Source:
        L. Kish, Survey Sampling (1965).
    """
    pictures = np.asarray(sizes, np.float64)
    return float(pictures.sum() ** 2 / (pictures**2).sum())


def _shares(accepted: Mapping[str, float], now: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    before, after = math.fsum(accepted.values()), math.fsum(now.values())
    names = sorted(accepted.keys() | now.keys())
    return {name: (accepted.get(name, 0) / before, now.get(name, 0) / after) for name in names}
