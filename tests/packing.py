"""Small pictures, box files and archives that tests make sources of."""

import io
import random
import tarfile
import zipfile

from PIL import Image

Files = dict[str, bytes]


def picture(shade: int = 0) -> bytes:
    """A PNG of 8 x 8 pixels of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, 40, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def voc(*objects: tuple[str, object, object, object, object]) -> bytes:
    """A Pascal VOC annotation of objects (name, xmin, ymin, xmax, ymax)."""
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in objects
    )
    return f"<annotation><filename>x</filename>{items}</annotation>".encode()


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


def copies(originals: int, each: int, seed: int = 3, most: int = 10_000) -> list[str]:
    """Names as tools for augmentation give them: `each` copies of every original."""
    draw = random.Random(seed)
    return sorted({f"_{number}_{draw.randrange(most)}.jpeg" for number in range(originals) for _ in range(each)})
