"""Originals as points: what pictures are compared by, from features that were extracted, or from small pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.data.rows import Folders
from lamina.files import release
from lamina.inputs.index import read_split
from lamina.maths.color import UNITS, LabPixels

SIDE: Final = 16  # pixels of the small pictures
WIDEST: Final = 2048  # columns; more are projected at random to as many, which keeps distances
COMPONENTS: Final = 256

Floats = npt.NDArray[np.float32]

_ROWS_AT_ONCE: Final = 512


def read_originals(folders: Folders, filtered: Path) -> pd.DataFrame:
    """Return the originals in the order of the stored pictures.

    Returns:
        `id`, `name`, `label`, `origin`, `fold`, `width` and `height` (of the file, in pixels), and `row` in the split.
    """
    split = read_split(folders)
    split["row"] = np.arange(len(split))
    lab = pd.read_parquet(folders.lab / "manifest.parquet", columns=["id", "name"])
    sizes = pd.read_parquet(filtered / "kept.parquet", columns=["id", "width", "height"])
    originals = split.loc[split["copy"] == 0, ["id", "label", "origin", "fold", "row"]]
    return lab.merge(originals, on="id", how="left", validate="1:1").merge(sizes, on="id", how="left")


def feature_points(folder: Path, rows: npt.NDArray[np.intp], *, seed: int) -> Floats:
    """Return the principal components of some rows of an entry of `features` (`_components`).

    Args:
        folder: `data/features/NAME`.
        rows: Row numbers.
        seed: Of the projection of wide features.
    """
    features = np.load(folder / "features.npy", mmap_mode="r")
    return _components(lambda some: features[rows[some]], len(rows), features, seed)


def pixel_points(pixels: LabPixels, *, seed: int) -> Floats:
    """Return the principal components of small pictures in CIELAB (`_components`).

    Args:
        pixels: (n, S, S, 3) int16, CIELAB x 100.
        seed: Of the decomposition.
    """
    import cv2

    side = min(SIDE, pixels.shape[1])

    def read(some: slice) -> npt.NDArray[Any]:
        each = np.asarray(pixels[some]).astype(np.float32) / UNITS
        return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA).ravel() for one in each])

    return _components(read, len(pixels), pixels, seed)


def _components(read: Callable[[slice], npt.NDArray[Any]], count: int, mapped: Any, seed: int) -> Floats:
    """Return the principal components of standardized columns: (count, at most `COMPONENTS`), of mean square length 1.

    Args:
        read: Returns some rows of a matrix.
        count: Number of its rows, at least 1.
        mapped: What it reads from; its memory is freed.
        seed: Of the projection of a wide matrix, and of the decomposition.
    """
    from sklearn.decomposition import PCA

    chunks = [slice(start, min(start + _ROWS_AT_ONCE, count)) for start in range(0, count, _ROWS_AT_ONCE)]
    sums = np.zeros((2, read(slice(0, 1)).shape[1]))
    for chunk in chunks:
        some = read(chunk).astype(np.float64)
        sums += some.sum(axis=0), (some**2).sum(axis=0)
        release(mapped)
    mean, square = sums / count
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    scale = np.where(deviation > 1e-6 * np.abs(mean), 1 / np.maximum(deviation, 1e-12), 0).astype(np.float32)
    width = len(mean)
    projected = width > WIDEST
    random = np.random.default_rng(seed)
    plane = random.normal(0, WIDEST**-0.5, (width, WIDEST)).astype(np.float32) if projected else None
    x = np.empty((count, WIDEST if projected else width), np.float32)
    for chunk in chunks:
        some = (read(chunk).astype(np.float32) - mean.astype(np.float32)) * scale
        x[chunk] = some if plane is None else some @ plane
        release(mapped)
    if min(x.shape) > 1 and x.any():
        x = PCA(min(COMPONENTS, *x.shape), random_state=seed).fit_transform(x).astype(np.float32)
    length = float(np.sqrt((x**2).sum(axis=1, dtype=np.float64).mean()))
    points: Floats = x[:, :COMPONENTS] / max(length, 1e-12)
    return points
