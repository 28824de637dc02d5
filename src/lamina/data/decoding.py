"""From encoded bytes to upright 8-bit RGB, whatever the file was, and whether it shows any color."""

import io
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS: Final = 178_956_970  # Pillow's own bound against decompression bombs
# what cameras, scanners and microscopes export; others stay closed, for Pillow hands EPS to Ghostscript, which runs it
FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
GREY_MODES: Final = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})

GREY_SPREAD: Final = 16  # levels between a pixel's channels: below, JPEG noise on grey; above, color
COLORED_SHARE: Final = 0.001  # of the pixels that must be colored for a picture to count as colored
_TIFF: Final = (b"II*\0", b"MM\0*")  # what its files begin with
_LOOK_AT: Final = 32  # pixels of the shorter side that are enough to tell grey from colored

Image.MAX_IMAGE_PIXELS = None  # `open_picture` checks the bound itself, before anything is decoded


class UnreadableError(Exception):
    """A picture that cannot be decoded; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A picture as it was seen: its size as shown, whether it is grey (by mode or by content), and its pixels.

    picture: RGB, upright, maybe smaller than shown; small: the same with 32 to 63 pixels on the shorter
    side, where there are so many.
    """

    width: int
    height: int
    grey: bool
    picture: Image.Image
    small: Image.Image


def open_picture(encoded: bytes) -> Image.Image:
    """Read a picture's header. Raises UnreadableError where it is none, or has too many pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken metadata, which we do not use
            picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError:
        if encoded[:4] in _TIFF:
            raise UnreadableError("a TIFF of a kind that is not read; save it with 8 or 16 bits, grey or RGB") from None
        raise UnreadableError(f"not a picture in a known format ({', '.join(FORMATS)})") from None
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise UnreadableError(str(error)) from None
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise UnreadableError(f"{width}x{height} are more than {MAX_PIXELS:,} pixels")
    return picture


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """(width, height) as a viewer shows the picture: after its EXIF orientation."""
    width, height = picture.size
    sideways = orientation(picture) in (5, 6, 7, 8)
    return (height, width) if sideways else (width, height)


def decode(picture: Image.Image, least: float = 1.0) -> Image.Image:
    """Decode to upright RGB, at a reduced size where the format allows.

    least: the smallest scale that will do (0.25: a quarter of width and height). JPEG is decoded at the
    next larger eighth, which averages whole blocks; other formats come at full size.
    Transparent parts become white. Of 16-bit greys the upper 8 bits are kept, of those that hold 12 bits the upper 8 of
    these; float greys are taken from 0 to 1, or, where one is above that, to 255. Raises UnreadableError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if least < 1:
                width, height = picture.size
                picture.draft(picture.mode, (max(1, int(width * least)), max(1, int(height * least))))
            picture.load()
            upright = picture if orientation(picture) == 1 else ImageOps.exif_transpose(picture)
            return _flatten(upright)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise UnreadableError(str(error) or type(error).__name__) from None


def look(opened: Image.Image, least: float = 0.0) -> Look:
    """Decode a picture that was opened, no smaller than `least` of its size, and see what it is.

    Raises UnreadableError.
    """
    mode, (width, height) = opened.mode, shown_size(opened)
    picture = decode(opened, least=max(least, _LOOK_AT / max(1, min(width, height))))
    small = picture.reduce(max(1, min(picture.size) // _LOOK_AT))
    grey = mode in GREY_MODES or is_grey(np.asarray(small))
    return Look(width=width, height=height, grey=grey, picture=picture, small=small)


def is_grey(rgb: np.ndarray) -> bool:
    """Whether a picture, (..., 3) uint8, shows no color: nowhere a tint beyond the noise of grey JPEGs."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(np.count_nonzero(spread > GREY_SPREAD) < COLORED_SHARE * spread.size)


def holds_twelve_bits(codes: np.ndarray) -> bool:
    """Whether deep greys are those of a 12-bit camera: taken for 16-bit ones, the lightest would be near black."""
    return bool(255 < codes.max(initial=0) < 4096)


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation: 1 (upright) to 8, and whatever else a file says; 1 where it says nothing readable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(picture.getexif().get(0x0112, 1))
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError):
        return 1  # broken metadata is no reason to drop a picture


def _flatten(picture: Image.Image) -> Image.Image:
    clear = picture.info.get("transparency")  # PNG and GIF may name one color
    if picture.mode == "RGB" and clear is None:
        return picture
    if picture.mode.startswith("I;16"):
        greys = np.asarray(picture)
        shift = 4 if holds_twelve_bits(greys) else 8
        return Image.fromarray(np.where(greys == clear, 255, greys >> shift).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(picture))).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or clear is not None:
        opaque = Image.new("RGBA", picture.size, "white")
        opaque.alpha_composite(picture.convert("RGBA"))
        return opaque.convert("RGB")
    return picture.convert("RGB")


def _to_bytes(greys: np.ndarray) -> np.ndarray:
    """Bring 32-bit greys to 8 bits: as they are up to 255, above that as of 12 or 16 bits; floats up to 1 as shares."""
    top = greys.max(initial=0)
    if greys.dtype.kind == "f" and top <= 1:
        codes = np.rint(np.clip(greys, 0, 1) * np.float32(65535)).astype(np.uint16)
        return np.asarray(codes >> 8, np.uint8)
    part = 1 if top <= 255 else 16 if holds_twelve_bits(greys) else 256
    return np.clip(greys / part, 0, 255).astype(np.uint8)
