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
from PIL.JpegImagePlugin import JpegImageFile

from lamina.data.depth import FULL
from lamina.data.memory import MIB, RGB, check_memory, needed_by
from lamina.data.pixels import MEMORY
from lamina.data.samples import Samples

MAX_PIXELS: Final = 178_956_970  # Pillow's own limit against decompression bombs
MAX_SIDE: Final = 65_535  # pixels, as of JPEG
# what cameras, scanners, microscopes and clinics export; no others, because Pillow runs EPS files through Ghostscript
FORMATS: Final = ("AVIF", "BMP", "DICOM", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")
GREY_MODES: Final = frozenset({"1", "L", "LA", "La"})

_OF_PILLOW: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")  # tried in this order
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes, also of BigTIFF
_PNG_DEPTH: Final = 24  # place of the byte
_ORIENTATION: Final = 0x0112  # in EXIF
_TURNING: Final = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # chunks of a PNG that may hold it

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
        values: Bytes that the values take, at least; 0 if Pillow tells.
        orientation: By which Pillow's picture is to be turned, once it is decoded.
        depth: Bits of white, if the file has more than 8 and does not say.
        memory: MiB that decoding it may take.
    """

    width: int
    height: int
    grey: bool
    pixels: Image.Image | Callable[[], Samples]
    values: int = 0
    orientation: int = 1
    depth: int = FULL
    memory: int = MEMORY

    def needed(self, least: float = 1.0) -> int:
        """Bytes that decoding takes, at the smallest scale that is enough."""
        if isinstance(self.pixels, Image.Image):
            return max(self.values, needed_by(self.pixels, least, turned=self.orientation != 1))
        return self.values + RGB * self.width * self.height

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


def read_file(path: Path, memory: int = MEMORY) -> bytes:
    """Read the bytes of a picture or text.

    Args:
        path: Of the file.
        memory: MiB that they may take.

    Raises:
        UnreadableError: If it is missing, too large, or no regular file: others may never end.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UnreadableError("not a regular file")
        if size > memory * MIB:
            raise UnreadableError(f"a file of {size // MIB:,} MiB, but convert.memory is {memory:,}; raise it")
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
        UnreadableError: If it is no such picture, has more than `MAX_PIXELS` pixels or a side above `MAX_SIDE`, takes
            more memory, or its file holds several pictures that are not frames of an animation.
    """
    with reading_picture():
        opened = replace(_open(encoded, memory), depth=depth, memory=memory)
        _check_size(opened.width, opened.height)
        if not isinstance(opened.pixels, JpegImageFile):  # which may be decoded at a smaller scale
            check_memory(opened.needed(), memory, opened.width, opened.height)
    return opened


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{width}x{height}: a side has more than {MAX_SIDE:,} pixels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} is more than {MAX_PIXELS:,} pixels")


def _open(encoded: bytes, memory: int) -> Opened:
    if encoded[128:132] == b"DICM":
        from lamina.data import dicom  # few sources need it, and it is slow to import

        width, height, grey, values = dicom.read_header(encoded)
        return Opened(width=width, height=height, grey=grey, pixels=partial(dicom.read_samples, encoded), values=values)
    if encoded[:4] in _TIFF:
        return _open_tiff(encoded)
    picture = _identify(encoded)
    _check_size(*picture.size)
    if picture.format == "PNG":
        return _open_png(encoded, picture, memory)
    turned = _orientation(picture)
    width, height = _shown(*picture.size, turned)
    return Opened(width=width, height=height, grey=picture.mode in GREY_MODES, pixels=picture, orientation=turned)


def _shown(width: int, height: int, turned: int) -> tuple[int, int]:
    """Size in pixels after an EXIF orientation."""
    return (height, width) if turned > 4 else (width, height)


def _identify(encoded: bytes) -> Image.Image:
    """Open by Pillow; raises UnreadableError for other formats."""
    formats: tuple[str, ...] = _OF_PILLOW
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
    width, height = _shown(header.width, header.height, header.orientation)
    pixels: Image.Image | Callable[[], Samples] = partial(tiff.read_samples, encoded)
    if header.bits <= 8 or (header.photometric not in tiff.COLORS and not header.planar):
        with suppress(UnidentifiedImageError):
            picture = Image.open(io.BytesIO(encoded), formats=("TIFF",))
            picture.seek(header.page)
            pixels = picture  # which Pillow turns itself
    return Opened(width=width, height=height, grey=header.grey, pixels=pixels, values=header.memory)


def _open_png(encoded: bytes, picture: Image.Image, memory: int) -> Opened:
    check_memory(needed_by(picture), memory, *picture.size)
    # to read the orientation, Pillow decodes all pixels: it may stand behind them
    turned = _orientation(picture) if any(name in encoded for name in _TURNING) else 1
    width, height = _shown(*picture.size, turned)
    grey = picture.mode in GREY_MODES or picture.mode.startswith("I")
    opened = Opened(width=width, height=height, grey=grey, pixels=picture, orientation=turned)
    if encoded[_PNG_DEPTH] != FULL:
        return opened
    channels = 1 if picture.mode.startswith("I") else len(picture.mode)
    pixels = partial(_png_samples, encoded, picture, turned)
    return replace(opened, pixels=pixels, values=(2 * channels + RGB) * width * height)


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


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 if there is none or it cannot be read."""
    try:
        with reading_picture():
            return int(picture.getexif().get(_ORIENTATION, 1))
    except UnreadableError:
        return 1  # broken metadata is no reason to drop a picture
