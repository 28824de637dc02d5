"""Odd pictures: those that differ from the rest in light, contrast, sharpness, size or shape, or are like no other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.files import release
from lamina.maths.color import UNITS, LabPixels
from lamina.progress import progress

ODD: Final = 5.0  # spreads from the median from which on a picture counts as odd; a normal one is farther once in 10**6
FEWEST: Final = 10  # pictures; fewer do not show what is usual

Floats = npt.NDArray[np.float64]

_PICTURES_AT_ONCE: Final = 256
_PLAIN: Final = 1.0  # deviation of L up to which a picture has no edges that could be blurred
_NORMAL: Final = 1.4826  # standard deviation of a normal distribution, in median absolute deviations


@dataclass(frozen=True, kw_only=True)
class Trait:
    """Something in which pictures differ.

    Attributes:
        low: What a picture is that has far less than the others; empty if that is nothing to report.
        high: What one is that has far more.
        least: Smallest spread that counts, in units of `scale`: where all others are alike, a small difference is
            nothing odd.
        scale: In which spreads are measured.
        text: The value in words.
    """

    low: str
    high: str
    least: float
    text: str
    scale: Callable[[Any], Any] = np.asarray


TRAITS: Final[Mapping[str, Trait]] = MappingProxyType(
    {
        "lightness": Trait(low="dark", high="bright", least=4, text="mean L {:.0f}"),
        "contrast": Trait(low="low contrast", high="", least=0.15, text="deviation of L {:.1f}", scale=np.log1p),
        "sharpness": Trait(low="blurred", high="", least=0.15, text="sharpness {:.2g}", scale=np.log),
        "side": Trait(low="small", high="large", least=0.15, text="side {:.0f} px", scale=np.log),
        "aspect": Trait(low="tall", high="wide", least=0.05, text="width / height {:.2f}", scale=np.log),
        "distance": Trait(low="", high="unlike the others", least=0.05, text="distance {:.2f}", scale=np.log1p),
    }
)


def measure_pixels(pixels: LabPixels) -> pd.DataFrame:
    """Measure light and sharpness of pictures.

    Args:
        pixels: (n, S, S, 3) int16, CIELAB x 100, may be memory-mapped.

    Returns:
        n rows: `lightness`, mean of L from 0 to 100; `contrast`, its standard deviation; `sharpness`, the variance of
        its Laplacian in units of the variance of L, so that it does not follow the contrast; NaN without contrast.

    Source:
        J. Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000 (variance of the Laplacian).
    """
    import cv2

    rows = []
    starts = range(0, len(pixels), _PICTURES_AT_ONCE)
    sizes = [min(_PICTURES_AT_ONCE, len(pixels) - start) for start in starts]
    for start in progress(starts, what="inspect", unit="pictures", sizes=sizes):
        lightness = np.asarray(pixels[start : start + _PICTURES_AT_ONCE, :, :, 0]).astype(np.float32) / UNITS
        edges = np.array([cv2.Laplacian(one, cv2.CV_32F).var(dtype=np.float64) for one in lightness])
        each = lightness.reshape(len(lightness), -1)
        mean, deviation = each.mean(axis=1, dtype=np.float64), each.std(axis=1, dtype=np.float64)
        sharpness = np.where(deviation > _PLAIN, edges / np.maximum(deviation, _PLAIN) ** 2, np.nan)
        rows.append(np.column_stack([mean, deviation, sharpness]))
        release(pixels)
    return pd.DataFrame(np.concatenate([np.zeros((0, 3)), *rows]), columns=["lightness", "contrast", "sharpness"])


def find_oddities(measured: pd.DataFrame) -> pd.DataFrame:
    """Find what is most unusual about each picture.

    Args:
        measured: Columns of `TRAITS`, a row for each picture.

    Returns:
        A row for each picture: `odd`, how many spreads (robust standard deviations) its most unusual trait lies from
        the median; `reason`, what that makes it; `detail`, its value next to the usual one. Of fewer than `FEWEST`
        pictures none is odd.
    """
    scores = {name: _spreads(measured[name].to_numpy(dtype=float), trait) for name, trait in TRAITS.items()}
    signed = np.column_stack([*scores.values()]) if len(measured) >= FEWEST else np.zeros((len(measured), len(TRAITS)))
    worst = np.abs(signed).argmax(axis=1)
    rows = np.arange(len(measured))
    odd = signed[rows, worst]
    names = np.array([*TRAITS])[worst]
    return pd.DataFrame(
        {
            "odd": np.abs(odd),
            "reason": [
                TRAITS[name].high if value > 0 else TRAITS[name].low for name, value in zip(names, odd, strict=True)
            ],
            "detail": [
                f"{TRAITS[name].text.format(measured[name].iloc[row])}, usual {_short(measured[name].median())}"
                for row, name in zip(rows, names, strict=True)
            ],
        }
    )


def _short(value: float) -> str:
    """Return a number with three significant digits, or all digits before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _spreads(values: Floats, trait: Trait) -> Floats:
    """Signed distance from the median in robust standard deviations, 0 in a direction that is nothing to report."""
    known = trait.scale(values[np.isfinite(values)])
    if not len(known):
        return np.zeros(len(values))
    apart = trait.scale(values) - np.median(known)
    spread = max(trait.least, _NORMAL * float(np.nanmedian(np.abs(apart))))
    low, high = (-np.inf if trait.low else 0.0), (np.inf if trait.high else 0.0)
    found: Floats = np.nan_to_num(np.clip(apart / spread, low, high))
    return found


def nearest_distance(
    points: npt.NDArray[np.floating[Any]], *, seed: int, neighbors: int = 5, most: int = 10_000
) -> Floats:
    """Return the mean distance of each point to its nearest neighbors, in units of the median distance: (n,).

    Args:
        points: (n, width).
        seed: Of the sample.
        neighbors: How many; fewer where there are fewer points.
        most: Points among which neighbors are searched, a random sample, so that the time is linear.
    """
    from sklearn.neighbors import NearestNeighbors

    count = len(points)
    if count < 2:
        return np.zeros(count)
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    number = min(neighbors + 1, len(chosen))
    distances = NearestNeighbors(n_neighbors=number, algorithm="brute").fit(points[chosen]).kneighbors(points)[0]
    itself = np.isin(np.arange(count), chosen)  # its nearest neighbor is itself
    mean: Floats = np.where(itself, distances[:, 1:].mean(axis=1), distances[:, :-1].mean(axis=1)).astype(np.float64)
    return mean / max(float(np.median(mean)), 1e-12)
