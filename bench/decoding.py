"""The least that preparation can take: photographs decoded and resized with the fastest decoder, and nothing else.

    python bench/decoding.py ARCHIVE OUT.npy SIZE

OpenCV decodes a JPEG at the smallest scale that is not below SIZE, and averages areas; one thread for each core.
"""

import sys
import zipfile
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool

import cv2
import numpy as np

SCALES = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def size_of(encoded: bytes) -> int:
    """Read the longer side from a JPEG's frame header, in pixels."""
    place = 2
    while encoded[place + 1] not in (0xC0, 0xC1, 0xC2):
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4])
    return max(int.from_bytes(encoded[place + 5 : place + 7]), int.from_bytes(encoded[place + 7 : place + 9]))


def square(encoded: bytes, size: int) -> np.ndarray:
    """Make a square, (size, size, 3) uint8, padded with the edges of the picture as by the stage `convert`."""
    longer = size_of(encoded)
    flag = next((flag for scale, flag in SCALES if longer / scale >= size), cv2.IMREAD_COLOR)
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    scale = size / max(picture.shape)
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    inside = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    top, left = (size - height) // 2, (size - width) // 2
    return cv2.copyMakeBorder(inside, top, size - height - top, left, size - width - left, cv2.BORDER_REPLICATE)


def read(archive: str) -> Iterator[bytes]:
    with zipfile.ZipFile(archive) as opened:
        yield from (opened.read(name) for name in sorted(opened.namelist()))


def main() -> None:
    archive, out, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    cv2.setNumThreads(1)
    with zipfile.ZipFile(archive) as opened:
        count = len(opened.namelist())
    squares = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    with ThreadPool() as pool:
        for row, pixels in enumerate(pool.imap(lambda encoded: square(encoded, size), read(archive), chunksize=8)):
            squares[row] = pixels


if __name__ == "__main__":
    main()
