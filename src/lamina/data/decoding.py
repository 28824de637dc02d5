"""Decodes files of any supported format to upright 8-bit RGB, and tells grey pictures from colored ones."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS: Final = 178_956_970  # Pillow's own limit against decompression bombs
# what cameras, scanners and microscopes export; no others, because Pillow runs EPS files through Ghostscript
FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
GREY_MODES: Final = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})

GREY_SPREAD: Final = 16  # difference of a pixel's channels: JPEG noise on grey stays below it, color is above
COLORED_SHARE: Final = 0.001  # a picture is colored if at least this share of its pixels is
_TIFF: Final = (b"II*\0", b"MM\0*")  # first bytes of a TIFF
_SMALL_SIDE: Final = 32  # pixels of the shorter side: enough to tell grey from colored
# what Pillow and OpenCV raise for broken files
_ERRORS: Final = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError)

Image.MAX_IMAGE_PIXELS = None  # `open_picture` checks the limit before it decodes


class UnreadableError(Exception):
    """A picture that cannot be decoded; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """A decoded picture and what is known of it.

    Attributes:
        width: Width in pixels as shown, after the EXIF orientation.
        height: Height in pixels as shown.
        grey: Whether it is grey, by its mode or its content.
        picture: Upright RGB, possibly at a reduced size.
        small: The same with 32 to 63 pixels on the shorter side, or fewer if the picture has fewer.
    """

    width: int
    height: int
    grey: bool
    picture: Image.Image
    small: Image.Image


@contextmanager
def reading_picture() -> Iterator[None]:
    """Silence warnings about metadata, and raise UnreadableError for any error of a broken file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _ERRORS as error:
        raise UnreadableError(str(error) or type(error).__name__) from None


def open_picture(encoded: bytes) -> Image.Image:
    """Read the header of a picture.

    Args:
        encoded: Bytes of a file in one of `FORMATS`.

    Returns:
        A picture whose pixels are not decoded yet.

    Raises:
        UnreadableError: If it is no such picture, or has more than `MAX_PIXELS` pixels.
    """
    with reading_picture():
        try:
            picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
        except UnidentifiedImageError:
            if encoded[:4] in _TIFF:
                problem = "a TIFF of a kind that is not read; save it with 8 or 16 bits, grey or RGB"
                raise UnreadableError(problem) from None
            raise UnreadableError(f"not a picture in a known format ({', '.join(FORMATS)})") from None
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise UnreadableError(f"{width}x{height} is more than {MAX_PIXELS:,} pixels")
    return picture


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """Return (width, height) in pixels as a viewer shows the picture, after its EXIF orientation."""
    width, height = picture.size
    sideways = orientation(picture) in (5, 6, 7, 8)
    return (height, width) if sideways else (width, height)


def decode(picture: Image.Image, least: float = 1.0) -> Image.Image:
    """Decode to upright RGB, at a reduced size if the format allows.

    Transparent parts become white. 16-bit greys keep their upper 8 bits, 12-bit greys in 16 bits the upper 8 of the
    12. Float greys range from 0 to 1, or to 255 if any value is above 1.

    Args:
        picture: From `open_picture`.
        least: Smallest scale that is enough (0.25: a quarter of width and height). A JPEG is decoded at the next
            larger eighth, which averages whole blocks; other formats at full size.

    Returns:
        An RGB picture.

    Raises:
        UnreadableError: If the pixels cannot be decoded.
    """
    with reading_picture():
        if least < 1:
            width, height = picture.size
            picture.draft(picture.mode, (max(1, int(width * least)), max(1, int(height * least))))
        picture.load()
        upright = picture if orientation(picture) == 1 else ImageOps.exif_transpose(picture)
        return _flatten(upright)


def inspect_picture(opened: Image.Image, least: float = 0.0) -> Inspected:
    """Decode a picture and measure its size and whether it is grey.

    Args:
        opened: From `open_picture`.
        least: Smallest scale that is enough, as for `decode`.

    Raises:
        UnreadableError: If the pixels cannot be decoded.
    """
    mode, (width, height) = opened.mode, shown_size(opened)
    picture = decode(opened, least=max(least, _SMALL_SIDE / max(1, min(width, height))))
    small = picture.reduce(max(1, min(picture.size) // _SMALL_SIDE))
    grey = mode in GREY_MODES or is_grey(np.asarray(small))
    return Inspected(width=width, height=height, grey=grey, picture=picture, small=small)


def is_grey(rgb: np.ndarray) -> bool:
    """Whether a picture, (..., 3) uint8, shows no more color than the noise of a grey JPEG."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(np.count_nonzero(spread > GREY_SPREAD) < COLORED_SHARE * spread.size)


def holds_twelve_bits(codes: np.ndarray) -> bool:
    """Whether greys, of more than 8 bits, come from a 12-bit camera: read as 16-bit, white would be near black."""
    return bool(255 < codes.max(initial=0) < 4096)


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 if there is none or it cannot be read."""
    try:
        with reading_picture():
            return int(picture.getexif().get(0x0112, 1))
    except UnreadableError:
        return 1  # broken metadata is no reason to drop a picture


def _flatten(picture: Image.Image) -> Image.Image:
    clear = picture.info.get("transparency")  # PNG and GIF may have one transparent color
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
    """Convert 32-bit greys to 8 bits: unchanged up to 255, else read as 12 or 16 bits; floats up to 1 as shares."""
    top = greys.max(initial=0)
    if greys.dtype.kind == "f" and top <= 1:
        codes = np.rint(np.clip(greys, 0, 1) * np.float32(65535)).astype(np.uint16)
        return np.asarray(codes >> 8, np.uint8)
    divisor = 1 if top <= 255 else 16 if holds_twelve_bits(greys) else 256
    return np.clip(greys / divisor, 0, 255).astype(np.uint8)
