"""Memory that decoding a picture takes: estimated before it starts, bounded, and not taken by many at once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from filelock import FileLock
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from lamina.files import machine_folder

MIB: Final = 2**20
RGB: Final = 4  # bytes of a pixel in Pillow's memory, in all modes but these
_SMALLER: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2}
_MORE: Final = {"AVIF": 12, "HEIF": 12, "TIFF": 4, "WEBP": 12}  # bytes of a pixel that the decoder takes
_PROGRESSIVE: Final = 3  # bytes of a pixel that the decoder of a progressive JPEG keeps, at any scale
_SCALES: Final = (1 / 8, 1 / 4, 1 / 2, 1.0)  # at which a JPEG can be decoded
_LARGE: Final = 256 * MIB  # pictures that need more are decoded one at a time, whatever the number of processes


def needed_by(picture: Image.Image, least: float = 1.0, *, turned: bool = False) -> int:
    """Estimate the bytes that Pillow needs to decode a picture and to convert it to RGB.

    Args:
        picture: Opened by Pillow, not decoded.
        least: Smallest scale that is enough, at which a JPEG is decoded.
        turned: Whether the result is turned or mirrored.
    """
    size = picture.width * picture.height
    copies = (not is_plain(picture)) + turned
    each = _SMALLER.get(picture.mode, RGB) + _MORE.get(str(picture.format), 0) + RGB * copies
    if not isinstance(picture, JpegImageFile):
        return size * each
    scale = next(scale for scale in _SCALES if scale >= min(1.0, least))
    coefficients = _PROGRESSIVE * size if picture.info.get("progressive") else 0
    return coefficients + round(size * scale**2) * each


def is_plain(picture: Image.Image) -> bool:
    """Whether Pillow's picture is in RGB and sRGB as it is."""
    return picture.mode == "RGB" and not {"transparency", "icc_profile"} & picture.info.keys()


def check_memory(needed: int, allowed: int, width: int, height: int) -> None:
    """Raise ValueError if decoding a picture takes more bytes than allowed.

    Args:
        needed: Bytes.
        allowed: MiB.
        width: In pixels.
        height: In pixels.
    """
    if needed > allowed * MIB:
        raise ValueError(
            f"{width}x{height} takes {needed // MIB:,} MiB to decode, but convert.memory is {allowed:,}; raise it, "
            "or make the picture smaller"
        )


@contextmanager
def alone_if_large(needed: int) -> Iterator[None]:
    """Wait until no other process or thread of this user decodes a large picture, if this one is large.

    Args:
        needed: Bytes that decoding it takes.
    """
    if needed <= _LARGE:
        yield
        return
    # by number: in a container, a user may have no name; Windows has no numbers, but a temporary folder for each user
    user = os.getuid() if hasattr(os, "getuid") else "user"
    with FileLock(machine_folder() / f"lamina-{user}.lock"):
        yield
