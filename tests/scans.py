"""Pictures of every format and depth, and a network whose colors can be computed by hand: lines of L."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image
from skimage.color import rgb2lab

from lamina.data.pixels import ConvertConfig

SIZE: Final = 32
WHOLE: Final = ConvertConfig(size=SIZE, isolate="none")
A, B = (0.3, -5.0), (-0.2, 14.0)  # of the network: slope and start over L, never beyond sRGB for middling greys


def linear(a: tuple[float, float] = A, b: tuple[float, float] = B) -> Any:
    """A network that says a = a[0] L + a[1], and b alike."""
    from lamina.models.keras_runtime import keras

    light = keras.Input((SIZE, SIZE, 1))
    convolution = keras.layers.Conv2D(2, 1)
    model = keras.Model(light, convolution(light), name="linear")
    convolution.set_weights([np.array([[[[a[0], b[0]]]]], np.float32), np.array([a[1], b[1]], np.float32)])
    return model


def waves(width: int = 90, height: int = 60, top: int = 255) -> np.ndarray:
    """Greys from a fifth to four fifths of the top."""
    rows, columns = np.mgrid[:height, :width]
    values = 0.5 + 0.3 * np.sin(columns / 9) * np.cos(rows / 7)
    return (values * top).round().astype(np.uint8 if top == 255 else np.uint16)


def encode(picture: Any, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def deep_png(values: np.ndarray, kind: int, **more: bytes) -> bytes:
    """A 16-bit PNG of a color type of its standard (0 grey, 2 RGB, 4 grey with alpha), with further chunks."""

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    return png_of_lines(zlib.compress(lines), width, height, 16, kind, **more)


def png_of_lines(compressed: bytes, width: int, height: int, bits: int, kind: int, **more: bytes) -> bytes:
    """A PNG of compressed lines, each with its filter, and further chunks."""

    def chunk(name: str, body: bytes) -> bytes:
        named = name.encode() + body
        return struct.pack(">I", len(body)) + named + struct.pack(">I", zlib.crc32(named))

    header = chunk("IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    told = b"".join(chunk(name, body) for name, body in more.items())
    return b"\x89PNG\r\n\x1a\n" + header + told + chunk("IDAT", compressed) + chunk("IEND", b"")


def by_hand(light: np.ndarray, strength: float = 1.0) -> np.ndarray:
    return np.stack([light, *(strength * (slope * light + start) for slope, start in (A, B))], axis=-1)


def read_deep(path: Path) -> np.ndarray:
    """What a file holds, in RGB(A) at its own depth, by another reader than Pillow."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return found[..., [2, 1, 0, *range(3, found.shape[2])]]


def lab_tiff(colors: np.ndarray) -> bytes:
    """An 8-bit CIELAB TIFF as TIFF 6.0 lays it out (section 23; D50), from scikit-image's conversion."""
    lab = rgb2lab(colors, illuminant="D50")
    stored = np.dstack([lab[..., 0] * 255 / 100, lab[..., 1:] % 256]).round().astype(np.uint8)
    height, width = colors.shape[:2]
    bits_at = 8 + 2 + 12 * 9 + 4
    longs = {256: width, 257: height, 259: 1, 262: 8, 273: bits_at + 6, 277: 3, 278: height, 279: stored.nbytes}
    entries = [(tag, 4, 1, value) for tag, value in longs.items()]
    entries.insert(2, (258, 3, 3, bits_at))
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return header + body + bytes(4) + struct.pack("<HHH", 8, 8, 8) + stored.tobytes()


def gamma_profile(gamma: float) -> bytes:
    """A display profile of sRGB's primaries under a plain power curve, as ICC.1:2001 lays it out."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    name = b"power\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.4360747, 0.2225045, 0.0139322),
        b"gXYZ": xyz(0.3850649, 0.7168786, 0.0971045),
        b"bXYZ": xyz(0.1430804, 0.0606169, 0.7141733),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    table, data, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", offset + len(data), len(content))
        data += content
    size = offset + len(data)
    white = struct.pack(">iii", 63190, 65536, 54061)
    header = struct.pack(">I4xI4s4s4s12s4s", size, 0x02100000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp")
    header = header.ljust(68, b"\0") + white
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def saved(network: Any) -> Any:
    """Return the model that a run saves: pictures in, pictures out, around its network."""
    from lamina.models.keras_runtime import keras
    from lamina.tasks.colorize.network import final_model

    numbers = keras.Input((SIZE, SIZE, 2))
    return final_model(network, keras.Model(numbers, numbers), flip_tta=False)
