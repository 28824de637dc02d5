"""Decodes opened files to upright 8-bit sRGB or to their own depth, and tells grey pictures from colored ones.

One set of rules, for training, prediction, serving and coloring: EXIF orientation and color profiles are applied,
values of more than 8 bits are scaled by their depth, transparent parts are white. What a file does not say is refused,
except for the depth of 16-bit values, which is decided once for a source (`lamina.data.depth`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from PIL import Image

from lamina.data.color_profiles import ProfileError, lab_to_srgb, to_srgb
from lamina.data.depth import FULL
from lamina.data.memory import check_memory, is_plain
from lamina.data.opening import GREY_MODES, Opened, open_picture, reading_picture
from lamina.data.pixels import ConvertConfig
from lamina.data.samples import Samples
from lamina.maths.color import RgbPixels
from lamina.maths.gamut import Codes

GREY_SPREAD: Final = 16  # difference of a pixel's channels: JPEG noise on grey stays below it, color is above
COLORED_SHARE: Final = 0.001  # a picture is colored if at least this share of its pixels is
_SMALL_SIDE: Final = 32  # pixels of the shorter side: enough to tell grey from colored

_TURNED: Final = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND: Final = 2**20  # pixels that are converted at once


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """A decoded picture and what is known of it.

    Attributes:
        width: Width in pixels as shown, after the EXIF orientation.
        height: Height in pixels as shown.
        grey: Whether it is grey, by its mode or its content.
        picture: Upright RGB, possibly at a reduced size.
        small: The same with 32 to 63 pixels on the shorter side, or fewer if the picture has fewer.
        largest: Its largest value, if its file does not say their depth; else 0.
    """

    width: int
    height: int
    grey: bool
    picture: Image.Image
    small: Image.Image
    largest: int


@dataclass(frozen=True, kw_only=True)
class Layers:
    """An upright picture in sRGB at the depth of its file.

    Attributes:
        colors: Greys (H, W) or colors (H, W, 3), uint8 or uint16; the largest value of the type is white.
        alpha: (H, W), the largest value of its type is opaque; None: all is.
        floats: Whether its file holds numbers from 0 to 1.
        unused_profile: Whether its file has a color profile that cannot be used.
    """

    colors: Codes
    alpha: Codes | None
    floats: bool = False
    unused_profile: bool = False


def open_for(convert: ConvertConfig, encoded: bytes) -> Opened:
    """Open a picture with the depth and the memory that the section `convert` allows; 16 bits while it is `auto`."""
    return open_picture(encoded, FULL if convert.depth == "auto" else convert.depth, convert.memory)


def decode(opened: Opened, least: float = 1.0) -> Image.Image:
    """Decode to upright 8-bit RGB in sRGB, on white, at a reduced size if the format allows.

    Args:
        opened: From `open_picture`.
        least: Smallest scale that is enough (0.25: a quarter of width and height). A JPEG is decoded at the next
            larger eighth, which averages whole blocks; other formats at full size.

    Raises:
        UnreadableError: If the pixels cannot be decoded, or not in the memory that is allowed.
    """
    return _decode(opened, least)[0]


def inspect_picture(opened: Opened, least: float = 0.0) -> Inspected:
    """Decode a picture and measure its size and whether it is grey.

    Args:
        opened: From `open_picture`.
        least: Smallest scale that is enough, as for `decode`.

    Raises:
        UnreadableError: As `decode`.
    """
    width, height = opened.width, opened.height
    picture, largest = _decode(opened, inspected_scale(opened, least))
    small = picture.reduce(max(1, min(picture.size) // _SMALL_SIDE))
    grey = opened.grey or is_grey(np.asarray(small))
    return Inspected(width=width, height=height, grey=grey, picture=picture, small=small, largest=largest)


def inspected_scale(opened: Opened, least: float) -> float:
    """Return the smallest scale that is enough for `inspect_picture`: it measures small pictures, too."""
    return max(least, _SMALL_SIDE / max(1, min(opened.width, opened.height)))


def read_layers(opened: Opened) -> Layers:
    """Decode a picture at its full size and depth.

    Raises:
        UnreadableError: As `decode`.
    """
    with _decoding(opened, 1.0):
        if isinstance(opened.pixels, Image.Image):
            opened.pixels.load()
            parts = _in_srgb(opened.pixels)
            colors, alpha = (
                None if one is None else np.asarray(_upright(one, opened.orientation)) for one in parts[:2]
            )
            assert colors is not None
            return Layers(colors=colors, alpha=alpha, unused_profile=parts[2])
        samples = opened.pixels()
        samples.check(opened.depth)
        pixels, opacity, unused = samples.in_srgb(opened.depth)
        return Layers(colors=pixels, alpha=opacity, floats=samples.floats, unused_profile=unused)


def largest_value(opened: Opened) -> int:
    """Return the largest value of a picture whose file does not say the depth; 0 for others.

    Raises:
        UnreadableError: As `decode`.
    """
    if isinstance(opened.pixels, Image.Image):
        return 0
    with _decoding(opened, 1.0):
        return opened.pixels().largest


def on_white(picture: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """Return 8-bit RGB: a picture in L or RGB over white, where alpha, in L, says how opaque it is."""
    if alpha is None:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    clear = picture.convert("RGB")
    clear.putalpha(alpha)
    opaque = Image.new("RGBA", picture.size, "white")
    opaque.alpha_composite(clear)
    return opaque.convert("RGB")


def upper_bits(codes: Codes) -> RgbPixels:
    """Return 8 bits of 16."""
    return codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)  # type: ignore[return-value]  # mypy does not narrow by dtype


def is_grey(rgb: np.ndarray) -> bool:
    """Whether a picture, (..., 3) uint8, shows no more color than the noise of a grey JPEG."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(np.count_nonzero(spread > GREY_SPREAD) < COLORED_SHARE * spread.size)


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNED.get(orientation)
    return picture if turn is None else picture.transpose(turn)


@contextmanager
def _decoding(opened: Opened, least: float) -> Iterator[None]:
    """Raise UnreadableError for errors of decoding, and if it takes more memory than it may."""
    with reading_picture():
        check_memory(opened.needed(least), opened.memory, opened.width, opened.height)
        yield


def _decode(opened: Opened, least: float) -> tuple[Image.Image, int]:
    """RGB, and the largest value as of `Inspected`."""
    with _decoding(opened, least):
        picture = opened.pixels
        if isinstance(picture, Image.Image):
            if least < 1:
                width, height = picture.size
                picture.draft(picture.mode, (max(1, int(width * least)), max(1, int(height * least))))
            picture.load()
            return _upright(_flatten(picture), opened.orientation), 0
        samples = picture()
        samples.check(opened.depth)
        return _bands(opened.width, opened.height, partial(_rows_of_samples, samples, opened.depth)), samples.largest


def _flatten(picture: Image.Image) -> Image.Image:
    """Convert to RGB in sRGB, on white."""
    if is_plain(picture):
        return picture
    return _bands(*picture.size, partial(_rows_of_picture, picture))


def _bands(width: int, height: int, make: Callable[[slice], Image.Image]) -> Image.Image:
    """Make a picture band by band, so that what a conversion takes stays small."""
    rows = max(1, _BAND // width)
    if rows >= height:
        return make(slice(0, height))
    whole = Image.new("RGB", (width, height))
    for top in range(0, height, rows):
        whole.paste(make(slice(top, min(top + rows, height))), (0, top))
    return whole


def _rows_of_picture(picture: Image.Image, rows: slice) -> Image.Image:
    whole = rows.stop - rows.start == picture.height
    colors, alpha, _ = _in_srgb(picture if whole else picture.crop((0, rows.start, picture.width, rows.stop)))
    return on_white(colors, alpha)


def _rows_of_samples(samples: Samples, depth: int, rows: slice) -> Image.Image:
    colors, alpha, _ = samples.rows(rows).in_srgb(depth)
    opacity = None if alpha is None else Image.fromarray(upper_bits(alpha))
    return on_white(Image.fromarray(upper_bits(colors)), opacity)


def _in_srgb(picture: Image.Image) -> tuple[Image.Image, Image.Image | None, bool]:
    """Colors, in L or RGB; alpha, in L, or None; and whether there is a profile that cannot be used."""
    if picture.mode == "LAB":
        return lab_to_srgb(picture), None, False
    alpha, profile = None, picture.info.get("icc_profile")
    if picture.info.get("transparency") is not None or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        grey = picture.mode in GREY_MODES  # PNG and GIF may have one transparent color
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        picture = picture.getchannel("G") if grey else picture.convert("RGB")
    elif picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    unused = False
    if profile:
        try:
            picture = to_srgb(picture, profile)
        except ProfileError:
            unused = True
    return picture.convert("RGB") if picture.mode == "CMYK" else picture, alpha, unused
