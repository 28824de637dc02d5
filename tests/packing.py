"""Small pictures, box files and archives that tests make sources of."""

import gzip
import io
import random
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image

Files = dict[str, bytes]


def picture(shade: int = 0) -> bytes:
    """A PNG of 8 x 8 pixels of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, 40, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def voc(*objects: tuple[str, object, object, object, object], size: tuple[int, int] | None = None) -> bytes:
    """A Pascal VOC annotation of objects (name, xmin, ymin, xmax, ymax), and of the size of the picture."""
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in objects
    )
    frame = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation><filename>x</filename>{frame}{items}</annotation>".encode()


def zipped(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: Files, compression: str = "gz", prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            header = tarfile.TarInfo(prefix + name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def idx(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes: images (count, height, width), or labels (count,)."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def digits(count: int, height: int = 5, width: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise (count, height, width), and the labels 0 to 9 in turn."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width), np.uint8)
    return pixels, np.arange(count) % 10


def idx_pair(part: str, count: int, seed: int = 0) -> Files:
    """The two files of a part of MNIST, `train` or `t10k`, with `count` small images."""
    pixels, labels = digits(count, seed=seed)
    return {
        f"{part}-images-idx3-ubyte.gz": gzip.compress(idx(pixels), mtime=0),
        f"{part}-labels-idx1-ubyte.gz": gzip.compress(idx(labels), mtime=0),
    }


def copies(originals: int, each: int, seed: int = 3, most: int = 10_000) -> list[str]:
    """Names as tools for augmentation give them: `each` copies of every original."""
    draw = random.Random(seed)
    return sorted({f"_{number}_{draw.randrange(most)}.jpeg" for number in range(originals) for _ in range(each)})
