"""Reads and writes pictures at their full size and bit depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from lamina.data.decoding import is_grey, on_white, open_for, read_layers, upper_bits
from lamina.data.memory import alone_if_large
from lamina.data.pixels import ConvertConfig, Region, cut_square, span, whole_picture
from lamina.maths.color import RgbPixels, srgb_to_lab
from lamina.maths.gamut import Codes

IN_COLOR: Final = "already in color, recolored from its lightness"
FRAMES: Final = "several frames, only the first is colored"
FLAT: Final = "no contrast, colored anyway"
PROFILE: Final = "color profile not used, read as sRGB"
CUT_DEPTH: Final = "written with 8 bits per channel, fewer than the original has"
FLOATS: Final = "float values, 0 read as black and 1 as white, written with 16 bits"
CUT_ALPHA: Final = "written without transparency, which the format cannot store"

# formats with color, by suffix; WebP and JPEG without visible loss, TIFF compressed without loss
_FORMATS: Final[Mapping[str, str]] = {
    ".bmp": "BMP", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "BMP": {},
    "JPEG": {"quality": 95},
    "PNG": {"compress_level": 2},  # a fifth of the time of level 6, for 8 % more bytes
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"quality": 95, "method": 2},
}
_DEEP: Final = ("PNG", "TIFF")  # formats with 16 bits per channel
_TRANSPARENT: Final = ("PNG", "TIFF", "WEBP")  # formats with transparency


@dataclass(frozen=True, kw_only=True)
class Original:
    """An upright picture in sRGB, at the bit depth of its file.

    Attributes:
        pixels: Greys (H, W) or colors (H, W, 3), uint8 or uint16.
        alpha: (H, W) of the same type, or None if the picture is opaque.
        square: (S, S, 3) uint8, as the stage `convert` makes it of whole pictures.
        inside: Rows and columns of the square that show the picture itself, not repeated edge pixels.
        notes: Messages for the user.
    """

    pixels: Codes
    alpha: Codes | None
    square: RgbPixels
    inside: tuple[slice, slice]
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height


def target_suffix(suffix: str) -> str:
    """Return the suffix of the output for an input suffix: the same, or `.png` if that format has no color."""
    return suffix if suffix.lower() in _FORMATS else ".png"


def read_original(encoded: bytes, convert: ConvertConfig) -> Original:
    """Decode a picture, upright, to sRGB, and make its square.

    Args:
        encoded: Bytes of the file.
        convert: Side of the square, how the picture becomes one, and what decoding needs to know.

    Raises:
        UnreadableError: If the picture cannot be decoded.
    """
    opened = open_for(convert, encoded)
    with alone_if_large(opened.needed()):
        layers = read_layers(opened)
    pixels, alpha = layers.colors, layers.alpha
    opacity = None if alpha is None else Image.fromarray(upper_bits(alpha))
    flat = on_white(Image.fromarray(upper_bits(pixels)), opacity)
    region = whole_picture(*flat.size, convert.resize)
    square, inside = cut_square(flat, convert.size, region), inside_square(*flat.size, convert.size, region)
    notes = {
        FRAMES: opened.frames > 1,
        IN_COLOR: pixels.ndim == 3 and _in_color(flat),
        FLAT: _is_flat(pixels),
        FLOATS: layers.floats,
        PROFILE: layers.unused_profile,
    }
    return Original(
        pixels=pixels,
        alpha=alpha,
        square=square,
        inside=inside,
        notes=tuple(one for one, holds in notes.items() if holds),
    )


def _in_color(flat: Image.Image) -> bool:
    return not is_grey(np.asarray(flat.reduce(max(1, min(flat.size) // 32))))


def _is_flat(pixels: Codes) -> bool:
    """Whether L differs by less than 1 over the picture; a few pixels are tested first, which decides most cases."""
    step = max(1, min(pixels.shape[:2]) // 32)
    pictures = (Image.fromarray(upper_bits(part)).convert("RGB") for part in (pixels[::step, ::step], pixels))
    return all(np.ptp(srgb_to_lab(np.asarray(picture))[..., 0]) < 100 for picture in pictures)


def inside_square(width: int, height: int, size: int, region: Region) -> tuple[slice, slice]:
    """Return the rows and columns of a square that show the picture itself, not repeated edge pixels.

    Args:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        size: Side of the square in pixels.
        region: What the square shows of the picture.
    """
    spans = span(region.top, region.height, height, size), span(region.left, region.width, width, size)
    rows, columns = (slice(one.missing[0], size - one.missing[1]) for one in spans)
    return rows, columns


def target_depth(original: Original, suffix: str) -> np.dtype[Any]:
    """Return the pixel type that `write_original` needs for a file of this suffix: uint8 or uint16."""
    return original.pixels.dtype if _FORMATS[suffix.lower()] in _DEEP else np.dtype(np.uint8)


def write_original(pixels: Codes, original: Original, path: Path) -> list[str]:
    """Write pixels with the alpha channel of the original, without metadata.

    Args:
        pixels: (H, W, 3) sRGB, of the type that `target_depth` gives.
        original: The picture that they were made from.
        path: Its suffix selects the format.

    Returns:
        Messages for the user.
    """
    form = _FORMATS[path.suffix.lower()]
    notes = [CUT_DEPTH] if pixels.dtype != original.pixels.dtype else []
    alpha = original.alpha
    if alpha is not None and form not in _TRANSPARENT:
        notes.append(CUT_ALPHA)
        alpha = None
    if alpha is not None and alpha.dtype != pixels.dtype:
        alpha = upper_bits(alpha)
    if pixels.dtype == np.uint16:
        path.write_bytes(_encode_deep(pixels, alpha, path.suffix))
    else:
        picture = Image.fromarray(pixels)
        if alpha is not None:
            picture.putalpha(Image.fromarray(alpha))
        picture.save(path, form, **_OPTIONS[form])
    return notes


def _encode_deep(pixels: Codes, alpha: Codes | None, suffix: str) -> memoryview:
    """Encode 16-bit colors; Pillow writes only 8-bit colors."""
    planes = (*cv2.split(pixels)[::-1], *([] if alpha is None else [alpha]))
    done, encoded = cv2.imencode(suffix.lower(), cv2.merge(planes))
    if not done:
        raise ValueError(f"OpenCV cannot write {suffix}")
    return encoded.data
