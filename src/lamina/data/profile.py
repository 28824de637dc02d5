"""Range and mean of the pixels of each stored picture; expectations are checked against them."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.files import release
from lamina.maths.color import UNITS, LabPixels
from lamina.progress import progress

RANGES: Final = ("l_min", "l_max", "a_min", "a_max", "b_min", "b_max", "tint")
MEANS: Final = ("l_mean", "a_mean", "b_mean", "l_std", "chroma")
_BYTES_AT_ONCE: Final = 1 << 25  # memory does not grow with the number of pictures


def profile(pixels: LabPixels) -> pd.DataFrame:
    """Measure range and mean of the channels of every picture.

    Args:
        pixels: (n, S, S, 3) int16, CIELAB x 100, may be memory-mapped; about 32 MiB are read at a time.

    Returns:
        n rows of `RANGES` and `MEANS`, in CIELAB units: minimum and maximum of L, a and b; `tint`, the largest |a| or
        |b| of any pixel (0 for a grey picture); mean L, a and b; standard deviation of L; `chroma`, the mean distance
        from grey.
    """
    count = len(pixels)
    step = max(1, _BYTES_AT_ONCE // max(1, pixels[:1].nbytes))
    starts = range(0, count, step)
    sizes = [min(step, count - start) for start in starts]
    ranges, means = np.zeros((count, 6), np.float64), np.zeros((count, len(MEANS)), np.float64)
    for start in progress(starts, what="profile", unit="pictures", sizes=sizes):
        some = np.asarray(pixels[start : start + step])
        ranges[start : start + step] = _ranges(some) / UNITS
        means[start : start + step] = _means(some) / UNITS
        release(pixels)
    tint = np.abs(ranges[:, 2:]).max(axis=1)
    return pd.DataFrame(np.column_stack([ranges, tint, means]), columns=[*RANGES, *MEANS])


def _ranges(pixels: LabPixels) -> npt.NDArray[np.int16]:
    """(n, 6): minimum and maximum of each channel in turn."""
    count, height, width, channels = pixels.shape
    # whole lines first: NumPy reduces long runs many times faster than runs of three values
    lines = pixels.reshape(count, height, width * channels)
    least = lines.min(axis=1).reshape(count, width, channels).min(axis=1)
    largest = lines.max(axis=1).reshape(count, width, channels).max(axis=1)
    return np.stack([least, largest], axis=-1).reshape(count, 2 * channels)


def _means(pixels: LabPixels) -> npt.NDArray[np.float64]:
    """(n, 5): `MEANS`, x 100."""
    channels = pixels.reshape(len(pixels), -1, 3)
    chroma = np.hypot(channels[..., 1], channels[..., 2], dtype=np.float32).mean(axis=1, dtype=np.float64)
    spread = channels[..., 0].std(axis=1, dtype=np.float64)
    return np.column_stack([channels.mean(axis=1, dtype=np.float64), spread, chroma])
