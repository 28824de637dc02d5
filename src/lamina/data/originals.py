"""Reads and writes pictures at their full size and bit depth."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from lamina.data.decoding import decode, holds_twelve_bits, is_grey, open_picture, orientation, reading_picture
from lamina.data.pixels import Region, Resize, cut_square, span, whole_picture
from lamina.maths.color import RgbPixels, srgb_to_lab
from lamina.maths.gamut import Codes

IN_COLOR: Final = "already in color, recolored from its lightness"
PAGES: Final = "several pages or frames, only the first is colored"
FLAT: Final = "no contrast, colored anyway"
PROFILE: Final = "color profile not used, read as sRGB"
CUT_DEPTH: Final = "written with 8 bits per channel, fewer than the original has"
TWELVE_BITS: Final = "12-bit values in 16 bits, none above 4095, which is read as white"
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

# how to make a picture upright, by its EXIF orientation
_UPRIGHT: Final[Mapping[int, Callable[[Any], Any]]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.swapaxes(pixels, 0, 1), 2),
    8: lambda pixels: np.rot90(pixels, 1),
}


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


def read_original(encoded: bytes, size: int, resize: Resize = "pad") -> Original:
    """Decode a picture, upright, to sRGB, and make its square.

    Of several pages the first is read. 32-bit integer greys become 16-bit, or 8-bit if none is above 255. 16-bit greys
    with a maximum between 256 and 4095 are read as 12-bit, where 4095 is white. In float greys 1 is white.

    Args:
        encoded: Bytes of the file.
        size: Side of the square in pixels.
        resize: How the picture becomes a square, see `lamina.data.pixels.whole_picture`.

    Raises:
        UnreadableError: If the picture cannot be decoded, or has float values outside 0 to 1.
    """
    opened = open_picture(encoded)
    with reading_picture():
        notes = [PAGES] if getattr(opened, "n_frames", 1) > 1 else []
        pixels, alpha, more_notes = _pixels(opened, encoded)
    flat = _flat(pixels, alpha)
    region = whole_picture(*flat.size, resize)
    if pixels.ndim == 3 and not is_grey(np.asarray(flat.reduce(max(1, min(flat.size) // 32)))):
        notes.append(IN_COLOR)
    if _is_flat(pixels):
        notes.append(FLAT)
    square, inside = cut_square(flat, size, region), inside_square(*flat.size, size, region)
    return Original(pixels=pixels, alpha=alpha, square=square, inside=inside, notes=(*notes, *more_notes))


def _is_flat(pixels: Codes) -> bool:
    """Whether L differs by less than 1 over the picture; a few pixels are tested first, which decides most cases."""
    step = max(1, min(pixels.shape[:2]) // 32)
    pictures = (Image.fromarray(_upper_bits(part)).convert("RGB") for part in (pixels[::step, ::step], pixels))
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
        alpha = _upper_bits(alpha)
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


def _pixels(opened: Image.Image, encoded: bytes) -> tuple[Codes, Codes | None, list[str]]:
    """Upright pixels in sRGB, alpha, and notes."""
    if opened.mode in ("RGB", "RGBA", "LA") and _bits(opened) == 16:
        deep = _decode_deep(encoded)
        if deep is not None:
            make_upright = _UPRIGHT.get(orientation(opened) if opened.format == "PNG" else 1, np.asarray)
            colors, alpha = deep
            colors, notes = _full_range(colors)
            return make_upright(colors), None if alpha is None else make_upright(alpha), notes + _profile_note(opened)
    profile, clear = opened.info.get("icc_profile"), opened.info.get("transparency")
    opened.load()
    upright = opened if orientation(opened) == 1 else ImageOps.exif_transpose(opened)
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        codes = _to_codes(np.asarray(upright))
        top = np.iinfo(codes.dtype).max
        opacity: Any = None if clear is None else np.where(codes == clear, 0, top).astype(codes.dtype)
        pixels, notes = (codes, [FLOATS]) if upright.mode == "F" else _full_range(codes)
        return pixels, opacity, notes + _profile_note(opened)
    if upright.mode == "LAB":
        # 8-bit CIELAB; its white is D50, in TIFF as in ICC profiles
        return np.asarray(_converted(upright, ImageCms.createProfile("LAB"))), None, []
    notes = [CUT_DEPTH] if _bits(opened) > 8 else []
    alpha = None
    if clear is not None or upright.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        grey = upright.mode in ("1", "L", "LA", "La")
        upright = upright.convert("RGBA")
        alpha = np.asarray(upright.getchannel("A"))
        upright = upright.getchannel("G") if grey else upright.convert("RGB")
    elif upright.mode not in ("L", "RGB", "CMYK"):
        upright = upright.convert("L" if upright.mode == "1" else "RGB")
    if profile:
        upright, profile_notes = _in_srgb(upright, profile)
        notes += profile_notes
    if upright.mode == "CMYK":
        upright = upright.convert("RGB")
    return np.asarray(upright), alpha, notes


def _flat(pixels: Codes, alpha: Codes | None) -> Image.Image:
    """8-bit RGB on white, like the result of `decode`."""
    picture = Image.fromarray(_upper_bits(pixels))
    if alpha is not None:
        picture.putalpha(Image.fromarray(_upper_bits(alpha)))
    return decode(picture)


def _upper_bits(codes: Codes) -> RgbPixels:
    return codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)  # type: ignore[return-value]  # mypy does not narrow by dtype


def _bits(opened: Image.Image) -> int:
    """Bits per channel, by the header."""
    if isinstance(opened, TiffImageFile):
        return int(max(opened.tag_v2.get(258, (8,))))
    tile = getattr(opened, "tile", None)
    return 16 if tile and "16" in str(tile[0].args) else 8  # PNG has `RGB;16B`


def _decode_deep(encoded: bytes) -> tuple[Codes, Codes | None] | None:
    """16-bit colors and alpha, which Pillow would reduce to 8 bits; None if OpenCV cannot read them either."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # else it prints warnings
    try:
        found = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None or found.dtype != np.uint16 or found.ndim != 3 or found.shape[2] not in (3, 4):
        return None
    return found[..., 2::-1], found[..., 3] if found.shape[2] == 4 else None


def _to_codes(values: np.ndarray) -> Codes:
    """16-bit greys unchanged, floats scaled to 16 bits, 32-bit integers clipped to 16 bits, or 8 if all fit."""
    if values.dtype.kind == "u":
        return values.astype(np.uint16, copy=False)
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise ValueError(f"expected float values from 0 to 1, found {low:.4g} to {high:.4g}; scale them")
        return np.asarray(np.rint(values * np.float32(65535)), np.uint16)
    if values.max(initial=0) > 255:
        return np.asarray(values.clip(0, 65535), np.uint16)
    return np.asarray(values.clip(0, 255), np.uint8)


def _full_range(codes: Codes) -> tuple[Codes, list[str]]:
    """Scale 12-bit greys to 16 bits, and say so in notes; dark colors stay, because they may just be dark."""
    if codes.dtype == np.uint8 or not holds_twelve_bits(codes):
        return codes, []
    if codes.ndim == 3 and (codes != codes[..., :1]).any():
        return codes, []
    full: Codes = (codes << 4 | codes >> 8).astype(np.uint16)
    return full, [TWELVE_BITS]


def _converted(picture: Image.Image, profile: Any) -> Image.Image:
    """Convert a picture from a profile to sRGB."""
    converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # None only if it works in place
    return converted


def _profile_note(opened: Image.Image) -> list[str]:
    profile = opened.info.get("icc_profile")
    return [PROFILE] if profile and not _is_srgb(profile) else []


def _is_srgb(profile: bytes) -> bool:
    try:
        return "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return False


def _in_srgb(picture: Image.Image, profile: bytes) -> tuple[Image.Image, list[str]]:
    """Convert a picture in L, RGB or CMYK from its profile to sRGB; unchanged, with a note, if that fails."""
    if _is_srgb(profile):
        return picture, []
    try:
        converted = _converted(picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return picture, [PROFILE]
    return (converted.getchannel("G") if picture.mode == "L" else converted), []
