"""Encodes grey pixels that come without a file of their own."""

import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
EIGHT_BIT_GREY: Final = bytes((8, 0, 0, 0, 0))  # bit depth, color type, and the only methods that PNG defines


def encode_grey(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG of (height, width) uint8 greys.

    It is stored, not compressed: compressed bytes depend on the version of zlib, and the digests of `data/raw/` must
    be the same on every machine. Source: ISO/IEC 15948.
    """
    height, width = pixels.shape
    unfiltered = np.pad(pixels, ((0, 0), (1, 0)))  # each row starts with its filter, 0: none
    parts = {
        b"IHDR": struct.pack(">II", width, height) + EIGHT_BIT_GREY,
        b"IDAT": zlib.compress(unfiltered.tobytes(), level=0),
        b"IEND": b"",
    }
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts.items())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
