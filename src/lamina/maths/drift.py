"""How far a sample has moved from an accepted one, in one plain unit: the share of the pictures that moved.

Beside each distance stands what chance alone makes of it: two samples of one distribution lie further apart than this
in about one case of a thousand, or fewer. Sizes are counts of independent pictures (`independent`), not of pictures.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

STEPS: Final = 20  # of a quantile function: 0, 5, ..., 100 %
ALPHA: Final = 0.001  # how often chance alone exceeds an allowance, about
_TWO_SIDED: Final = NormalDist().inv_cdf(1 - ALPHA / 2)  # 3.29
_ONE_SIDED: Final = NormalDist().inv_cdf(1 - ALPHA)  # 3.09


def quantiles(values: ArrayLike) -> list[float]:
    """The least value that 0, 5, ..., 100 % of the values do not exceed: `STEPS` + 1 numbers, all of them values.

    values: (n,), at least one. (The inverse of the empirical distribution function; for 0 % the least value.)
    """
    ordered = np.sort(np.asarray(values, np.float64))
    ranks = -(-np.arange(STEPS + 1) * len(ordered) // STEPS)  # rounded up, in whole numbers: no 0.05 is exact
    return [float(value) for value in ordered[np.maximum(ranks, 1) - 1]]


def kolmogorov(accepted: Sequence[float], values: ArrayLike) -> float:
    """The share of the pictures, 0..1, that have moved past an accepted quantile: Kolmogorov and Smirnov's distance.

    accepted: what `quantiles` says of the accepted values; values: (m,), at least one, rounded alike. It is the least
    distance that any sample with these quantiles may have: 0 for the accepted values themselves, ties or none, and
    short of the distance of the whole samples by a step (5 %) at most.
    """
    ordered, points = np.sort(np.asarray(values, np.float64)), np.asarray(accepted, np.float64)
    levels = np.arange(len(points)) / (len(points) - 1)
    up_to, below = (np.searchsorted(ordered, points, side) / len(ordered) for side in ("right", "left"))
    return float(max(0.0, (levels - up_to).max(), (below - levels).max()))


def kolmogorov_noise(n: float, m: float) -> float:
    """What chance makes of `kolmogorov`, whatever the distribution.

    Source: N. V. Smirnov's limit of the two-sample distance, Bull. Math. Univ. Moscou 2 (1939) 3, by its first term,
    which bounds it from above.
    """
    return math.sqrt(-math.log(ALPHA / 2) / 2 * (1 / n + 1 / m))


def total_variation(accepted: Mapping[str, float], now: Mapping[str, float]) -> float:
    """The share of the pictures, 0..1, that changed class: half the sum of the shares' differences.

    accepted, now: counts by class, or shares; a class that one of them lacks is 0 there. Neither may be empty.
    """
    return math.fsum(abs(before - after) for before, after in _shares(accepted, now).values()) / 2


def total_variation_noise(accepted: Mapping[str, float], now: Mapping[str, float], n: float, m: float) -> float:
    """What chance makes of `total_variation`.

    It is the largest difference of any group of classes, so, for samples that are not tiny, the largest of some normal
    variables: their mean (at most the sum of the classes' own), and above it what the widest group alone would show.
    Source: C. Borell, Inventiones Mathematicae 30 (1975) 207; shares are those of both samples together.
    """
    pooled = [(n * before + m * after) / (n + m) for before, after in _shares(accepted, now).values()]
    spread = math.sqrt(1 / n + 1 / m)
    mean = math.fsum(math.sqrt(share * (1 - share)) for share in pooled) / math.sqrt(2 * math.pi)
    largest = max(pooled)
    widest = math.sqrt(largest * (1 - largest)) if largest > 0.5 else 0.5
    return spread * (mean + _ONE_SIDED * widest)


def share_noise(accepted: float, now: float, n: float, m: float) -> float:
    """What chance makes of the difference of two shares, 0..1 each.

    Source: the normal limit of two binomial shares; their common one is moved towards a half as A. Agresti and
    B. A. Coull do (The American Statistician 52 (1998) 119), since the limit promises too much for rare events.
    """
    added = _TWO_SIDED**2
    share = (n * accepted + m * now + added / 2) / (n + m + added)
    return _TWO_SIDED * math.sqrt(share * (1 - share) * (1 / n + 1 / m))


def independent(sizes: ArrayLike) -> float:
    """As how many independent pictures those of some origins count at least: n^2 over the sum of the squared sizes.

    sizes: pictures of each origin, at least one. As if those of one origin were all alike: the number of origins where
    these are of one size, and less where a few are large. Source: L. Kish, Survey Sampling (1965).
    """
    pictures = np.asarray(sizes, np.float64)
    return float(pictures.sum() ** 2 / (pictures**2).sum())


def _shares(accepted: Mapping[str, float], now: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    before, after = math.fsum(accepted.values()), math.fsum(now.values())
    names = sorted(accepted.keys() | now.keys())
    return {name: (accepted.get(name, 0) / before, now.get(name, 0) / after) for name in names}
