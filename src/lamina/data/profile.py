"""What each stored picture's pixels range over: the facts that expectations on pixels are held against."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.maths.color import UNITS, LabPixels
from lamina.progress import progress

COLUMNS: Final = ("l_min", "l_max", "a_min", "a_max", "b_min", "b_max", "tint")
_BYTES_AT_ONCE: Final = 1 << 25  # memory stays flat however many pictures there are


def profile(pixels: LabPixels) -> pd.DataFrame:
    """Measure the range of every picture's channels.

    pixels: (n, S, S, 3) int16, CIELAB x 100, may be memory-mapped: some 32 MiB of it are read at a time.
    Returns n rows of `COLUMNS`, in CIELAB units: least and largest L, a and b, and `tint`, how far from grey
    any pixel lies along a or b: 0 exactly where every pixel is grey.
    """
    count = len(pixels)
    step = max(1, _BYTES_AT_ONCE // max(1, pixels[:1].nbytes))
    starts = range(0, count, step)
    sizes = [min(step, count - start) for start in starts]
    ranges = np.zeros((count, 6), np.float64)
    for start in progress(starts, what="profile", unit="pictures", sizes=sizes):
        ranges[start : start + step] = _ranges(np.asarray(pixels[start : start + step])) / UNITS
    tint = np.abs(ranges[:, 2:]).max(axis=1)
    return pd.DataFrame(np.column_stack([ranges, tint]), columns=list(COLUMNS))


def _ranges(pixels: LabPixels) -> npt.NDArray[np.int16]:
    """(n, 6): least and largest value of each channel in turn."""
    count, height, width, channels = pixels.shape
    # rows of whole lines first: NumPy reduces long runs many times faster than runs of three values
    lines = pixels.reshape(count, height, width * channels)
    least = lines.min(axis=1).reshape(count, width, channels).min(axis=1)
    largest = lines.max(axis=1).reshape(count, width, channels).max(axis=1)
    return np.stack([least, largest], axis=-1).reshape(count, 2 * channels)
