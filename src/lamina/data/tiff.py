"""Reads TIFF files by their tags: pages, planes, channels, photometric interpretation, sign and bits per sample.

Pillow reads the pixels of those with 8 bits. It has no place for 16-bit colors, and mistakes their planes for pixels.
"""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from tifffile import TiffFile, TiffPage

from lamina.data.depth import FULL
from lamina.data.samples import Samples, Values, of_floats, of_integers

_WHITE_IS_ZERO: Final = 0  # photometric interpretation
COLORS: Final = {_WHITE_IS_ZERO: 1, 1: 1, 2: 3}  # channels that show color, by it: grey twice, RGB
_UNNAMED, _MULTIPLIED = 0, 1  # extra samples: no transparency, and one that colors are multiplied by
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # sample formats
_PLANES: Final = 2  # planar configuration
_ORIENTATION, _PROFILE = 274, 34675  # tags
_TYPES: Final = (16, 32, 64)  # bits of a type, of which a camera may use fewer
_SIGNIFICANT: Final = re.compile(r'\bSignificantBits="(\d+)"')  # in OME-XML

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is raised


@dataclass(frozen=True, kw_only=True)
class TiffHeader:
    """What the tags say of the only picture in a TIFF.

    Attributes:
        page: Number of its page.
        width: In pixels, as stored.
        height: In pixels, as stored.
        bits: Per sample.
        photometric: Number of its photometric interpretation.
        planar: Whether it stores each channel as a plane of its own.
        grey: Whether it has no color.
        orientation: As in EXIF.
        memory: Bytes of its values, decoded.
    """

    page: int
    width: int
    height: int
    bits: int
    photometric: int
    planar: bool
    grey: bool
    orientation: int
    memory: int


def read_header(encoded: bytes) -> TiffHeader:
    """Read the tags of the only picture in a TIFF.

    Raises:
        ValueError: If there are several, or none.
    """
    with _picture(encoded) as (_, number, page):
        return _header(number, page)


def read_samples(encoded: bytes) -> Samples:
    """Read the values of the only picture in a TIFF.

    Raises:
        ValueError: If it is neither grey nor RGB, or its values have no known range.
    """
    with _picture(encoded) as (file, number, page):
        header = _header(number, page)
        shown = COLORS.get(header.photometric)
        if shown is None or header.bits < 8:
            kind = getattr(page.photometric, "name", page.photometric)
            raise ValueError(f"a TIFF of {header.bits} bits in {kind}; save it as grey or RGB")
        channels = _channels(page)
        extra = [int(kind) for kind in page.extrasamples]
        more = channels.shape[2] - shown
        if more not in (0, 1) or (more and not extra and shown == 1):
            raise ValueError(f"{channels.shape[2]} channels that its tags do not name; save it as grey or RGB")
        values = _numbers(channels, int(page.sampleformat))
        colors = values[..., 0] if shown == 1 else values[..., :shown]
        alpha = values[..., shown] if more and extra != [_UNNAMED] else None
        if alpha is not None and extra == [_MULTIPLIED]:
            colors = _divided(colors, alpha)
        profile = page.tags.get(_PROFILE)
        return Samples(
            values=np.ascontiguousarray(colors),
            depth=_depth(file, page),
            alpha=alpha,
            inverted=header.photometric == _WHITE_IS_ZERO,
            profile=bytes(profile.value) if profile else None,
            floats=int(page.sampleformat) == _FLOAT,
        ).upright(header.orientation)


@contextmanager
def _picture(encoded: bytes) -> Iterator[tuple[TiffFile, int, TiffPage]]:
    """Open the only page that is neither a smaller copy of another nor a mask."""
    with TiffFile(io.BytesIO(encoded)) as file:
        shown = []
        for number, page in enumerate(file.pages):
            if isinstance(page, TiffPage) and not (page.is_reduced or page.is_mask):
                shown.append((number, page))
            if len(shown) > 1:
                axes = f" with the axes {file.series[0].axes}" if file.is_ome or file.is_imagej else ""
                raise ValueError(f"{len(file.pages)} pages{axes}; save each picture as a file of its own")
        if not shown:
            raise ValueError("a TIFF without a picture")
        yield file, *shown[0]


def _header(number: int, page: TiffPage) -> TiffHeader:
    orientation = page.tags.get(_ORIENTATION)
    samples = int(page.samplesperpixel)
    # a file may say that its tiles are far larger than the picture
    values = max(page.imagewidth * page.imagelength * samples, int(np.prod(page.chunks)))
    return TiffHeader(
        page=number,
        width=int(page.imagewidth),
        height=int(page.imagelength),
        bits=int(page.bitspersample),
        photometric=int(page.photometric),
        planar=samples > 1 and int(page.planarconfig) == _PLANES,
        grey=COLORS.get(int(page.photometric)) == 1,
        orientation=int(orientation.value) if orientation else 1,
        memory=values * np.dtype(page.dtype).itemsize if page.dtype is not None else 0,
    )


def _depth(file: TiffFile, page: TiffPage) -> int | None:
    """Bits of white, as the tags say; None if they only say the type."""
    bits = int(page.bitspersample)
    if int(page.sampleformat) == _FLOAT:
        return FULL  # after scaling
    if bits not in _TYPES:
        return bits
    said = _SIGNIFICANT.search(file.ome_metadata or "") if file.is_ome else None
    return int(said[1]) if said and 8 <= int(said[1]) <= FULL else None


def _channels(page: TiffPage) -> Values:
    """(H, W, C), also of a file that stores a plane per channel."""
    _, slices, *_, samples = page.shaped
    if slices != 1:
        raise ValueError(f"a volume of {slices} slices; save each as a file of its own")
    values = page.asarray(squeeze=False, maxworkers=1)[:, 0]
    return np.moveaxis(values[..., 0], 0, -1) if samples == 1 else values.reshape(values.shape[1:])


def _numbers(channels: Values, kind: int) -> Values:
    if kind == _FLOAT:
        return of_floats(channels)
    if kind not in (_UNSIGNED, _SIGNED):
        raise ValueError("a TIFF of complex numbers; save it as grey or RGB")
    return of_integers(channels)


def _divided(colors: Values, alpha: Values) -> Values:
    """Colors that were multiplied by alpha, as they were before."""
    largest = np.iinfo(colors.dtype).max
    share = np.maximum(alpha, 1).astype(np.float32) / largest
    return np.minimum(colors / (share if colors.ndim == 2 else share[..., None]), largest).astype(colors.dtype)
