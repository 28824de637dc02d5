"""Preparation in the simplest way: each picture decoded in full, scaled, and converted on its own.

    python bench/naive.py ARCHIVE OUT.npy SIZE

Pictures become squares as in the stage `convert` (padded with their edges), stored as CIELAB x 100 in int16.
"""

import sys
import zipfile
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
from PIL import Image


def square(encoded: bytes, size: int) -> np.ndarray:
    """Decode a picture in full and scale its longer side to `size`: (size, size, 3) uint8."""
    picture = Image.open(BytesIO(encoded)).convert("RGB")
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    inside = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    rows, columns = ((missing // 2, missing - missing // 2) for missing in (size - height, size - width))
    return np.pad(inside, (rows, columns, (0, 0)), mode="edge")


def prepare(archive: str, name: str, size: int) -> np.ndarray:
    """Convert one picture of an archive to CIELAB x 100 with scikit-image: (size, size, 3) int16."""
    from skimage.color import rgb2lab

    with zipfile.ZipFile(archive) as opened:
        encoded = opened.read(name)
    return np.rint(rgb2lab(square(encoded, size)) * 100).astype(np.int16)


def main() -> None:
    archive, out, size = sys.argv[1:]
    with zipfile.ZipFile(archive) as opened:
        names = sorted(opened.namelist())
    work = (joblib.delayed(prepare)(archive, name, int(size)) for name in names)
    np.save(Path(out), np.stack(joblib.Parallel(n_jobs=joblib.cpu_count())(work)))


if __name__ == "__main__":
    main()
