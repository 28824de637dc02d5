"""Opens files of any supported format: what their header says, before pixels take memory."""

import io
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from lamina.data.depth import FULL
from lamina.data.pixels import MEMORY
from lamina.data.samples import Samples

MAX_PIXELS: Final = 178_956_970  # Pillow's own limit against decompression bombs
MAX_SIDE: Final = 65_535  # pixels, as of JPEG
# what cameras, scanners, microscopes and clinics export; no others, because Pillow runs EPS files through Ghostscript
FORMATS: Final = ("AVIF", "BMP", "DICOM", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")
GREY_MODES: Final = frozenset({"1", "L", "LA", "La"})

_OF_PILLOW: Final = tuple(name for name in FORMATS if name not in ("DICOM", "HEIF"))
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes, also of BigTIFF
_PNG_DEPTH: Final = 24  # place of the byte
_ORIENTATION: Final = 0x0112  # in EXIF

Image.MAX_IMAGE_PIXELS = None  # `open_picture` checks the limit before anything is decoded


class UnreadableError(Exception):
    """A picture that cannot be decoded; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A picture whose header is read, but not its pixels.

    Attributes:
        width: In pixels as shown, after the EXIF orientation.
        height: In pixels as shown.
        grey: Whether its file has no color.
        pixels: Pillow's picture; or for other depths than 8 bits, what reads the values, upright.
        needed: Bytes that the values take, if they are not Pillow's.
        depth: Bits of white, if the file has more than 8 and does not say.
        memory: MiB that decoding it may take.
    """

    width: int
    height: int
    grey: bool
    pixels: Image.Image | Callable[[], Samples]
    needed: int = 0
    depth: int = FULL
    memory: int = MEMORY

    @property
    def frames(self) -> int:
        """Number of frames of an animation, of which the first is read."""
        with reading_picture():
            return int(getattr(self.pixels, "n_frames", 1))


@contextmanager
def reading_picture() -> Iterator[None]:
    """Silence warnings about metadata, and raise UnreadableError for any error of a broken file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableError:
        raise
    except Exception as error:  # decoders raise errors of many types
        raise UnreadableError(" ".join(str(error).split()) or type(error).__name__) from None


def read_file(path: Path) -> bytes:
    """Read the bytes of a picture or text; raise UnreadableError unless it is a regular file: others may never end."""
    try:
        if not path.is_file():
            raise UnreadableError("not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None


def may_be_deep(path: Path) -> bool:
    """Whether a file may hold values of more than 8 bits whose depth it does not say; reads its first bytes alone."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_PNG_DEPTH + 1)
    except OSError:
        return False
    return head[:4] in _TIFF or (head[1:4] == b"PNG" and head[_PNG_DEPTH:] == bytes([FULL]))


def open_picture(encoded: bytes, depth: int = FULL, memory: int = MEMORY) -> Opened:
    """Read the header of a picture.

    Args:
        encoded: Bytes of a file in one of `FORMATS`.
        depth: Bits of white, for values of more than 8 bits whose file does not say.
        memory: MiB that decoding it may take.

    Returns:
        A picture whose pixels are not decoded yet.

    Raises:
        UnreadableError: If it is no such picture, has more than `MAX_PIXELS` pixels or a side above `MAX_SIDE`, or its
            file holds several pictures that are not frames of an animation.
    """
    with reading_picture():
        opened = _open(encoded)
    width, height = opened.width, opened.height
    if max(width, height) > MAX_SIDE:
        raise UnreadableError(f"{width}x{height}: a side has more than {MAX_SIDE:,} pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableError(f"{width}x{height} is more than {MAX_PIXELS:,} pixels")
    return replace(opened, depth=depth, memory=memory)


def _open(encoded: bytes) -> Opened:
    if encoded[128:132] == b"DICM":
        from lamina.data import dicom  # few sources need it, and it is slow to import

        width, height, grey, needed = dicom.read_header(encoded)
        return Opened(width=width, height=height, grey=grey, pixels=partial(dicom.read_samples, encoded), needed=needed)
    if encoded[:4] in _TIFF:
        return _open_tiff(encoded)
    picture = _identify(encoded)
    width, height = picture.size
    turned = orientation(picture)
    if turned > 4:
        width, height = height, width
    grey = picture.mode in GREY_MODES or picture.mode.startswith("I")
    if picture.format == "PNG" and encoded[_PNG_DEPTH] == FULL:
        channels = 1 if picture.mode.startswith("I") else len(picture.mode)
        pixels = partial(_png_samples, encoded, picture, turned)
        return Opened(width=width, height=height, grey=grey, pixels=pixels, needed=2 * channels * width * height)
    return Opened(width=width, height=height, grey=grey, pixels=picture)


def _identify(encoded: bytes) -> Image.Image:
    """Open by Pillow; raises UnreadableError for other formats."""
    formats = _OF_PILLOW
    if encoded[4:8] == b"ftyp" and encoded[8:12] not in (b"avif", b"avis"):
        from pi_heif import register_heif_opener

        register_heif_opener()
        formats = ("HEIF",)
    try:
        return Image.open(io.BytesIO(encoded), formats=formats)
    except UnidentifiedImageError:
        raise UnreadableError(f"not a picture in a known format ({', '.join(FORMATS)})") from None


def _open_tiff(encoded: bytes) -> Opened:
    from lamina.data import tiff  # few sources need it

    header = tiff.read_header(encoded)
    width, height = (header.width, header.height)[:: -1 if header.orientation > 4 else 1]
    pixels: Image.Image | Callable[[], Samples] = partial(tiff.read_samples, encoded)
    if header.bits <= 8 or (header.photometric not in tiff.COLORS and not header.planar):
        with suppress(UnidentifiedImageError):
            picture = Image.open(io.BytesIO(encoded), formats=("TIFF",))
            picture.seek(header.page)
            pixels = picture
    return Opened(width=width, height=height, grey=header.grey, pixels=pixels, needed=header.memory)


def _png_samples(encoded: bytes, picture: Image.Image, turned: int) -> Samples:
    """Read a PNG of 16 bits. Its chunk sBIT says how many of them are significant, whether scaled to 16 or not."""
    profile, least = picture.info.get("icc_profile"), 8
    place = encoded.find(b"sBIT", 33, encoded.find(b"IDAT"))  # after the header, before the pixels
    if place > 0:
        (length,) = struct.unpack(">I", encoded[place - 4 : place])
        least = min(FULL, max(8, *encoded[place + 4 : place + 4 + length]))
    if picture.mode.startswith("I"):
        clear = picture.info.get("transparency")
        samples = Samples(values=np.asarray(picture).astype(np.uint16), clear=clear, profile=profile, least=least)
        return samples.upright(turned)
    import cv2  # few pictures need it

    found = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise UnreadableError("broken PNG")
    alpha = found[..., 3] if found.shape[2] == 4 else None
    return Samples(values=found[..., 2::-1], alpha=alpha, profile=profile, least=least).upright(turned)


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 if there is none or it cannot be read."""
    try:
        with reading_picture():
            return int(picture.getexif().get(_ORIENTATION, 1))
    except UnreadableError:
        return 1  # broken metadata is no reason to drop a picture
