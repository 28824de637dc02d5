"""From encoded bytes to upright 8-bit RGB, whatever the file was."""

import io
import warnings
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS: Final = 178_956_970  # Pillow's own bound against decompression bombs
# what cameras, scanners and microscopes export; others stay closed, for Pillow hands EPS to Ghostscript, which runs it
FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
GREY_MODES: Final = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})

Image.MAX_IMAGE_PIXELS = None  # `open_picture` checks the bound itself, before anything is decoded


class UnreadableError(Exception):
    """A picture that cannot be decoded; the text says why."""


def open_picture(encoded: bytes) -> Image.Image:
    """Read a picture's header. Raises UnreadableError where it is none, or has too many pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken metadata, which we do not use
            picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError:
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
    sideways = _orientation(picture) in (5, 6, 7, 8)
    return (height, width) if sideways else (width, height)


def decode(picture: Image.Image, least: float = 1.0) -> Image.Image:
    """Decode to upright RGB, at a reduced size where the format allows.

    least: the smallest scale that will do (0.25: a quarter of width and height). JPEG is decoded at the
    next larger eighth, which averages whole blocks; other formats come at full size.
    Transparent parts become white; 16-bit greys keep their upper 8 bits. Raises UnreadableError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if least < 1:
                width, height = picture.size
                picture.draft(picture.mode, (max(1, int(width * least)), max(1, int(height * least))))
            picture.load()
            upright = picture if _orientation(picture) == 1 else ImageOps.exif_transpose(picture)
            return _flatten(upright)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise UnreadableError(str(error) or type(error).__name__) from None


def _orientation(picture: Image.Image) -> int:
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
        grey = np.asarray(picture)
        return Image.fromarray(np.where(grey == clear, 255, grey >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(picture, np.float64))).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or clear is not None:
        opaque = Image.new("RGBA", picture.size, "white")
        opaque.alpha_composite(picture.convert("RGBA"))
        return opaque.convert("RGB")
    return picture.convert("RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Bring 32-bit greys to 8 bits: as they are up to 255, as 16-bit values above that."""
    top = values.max(initial=0)
    return np.clip(values / (1 if top <= 255 else 256), 0, 255).astype(np.uint8)
