"""Pictures at their full size and depth, read to be worked on and written as they came."""

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from lamina.data.decoding import UnreadableError, decode, holds_twelve_bits, is_grey, open_picture, orientation
from lamina.data.pixels import Fit, Region, cut_square, span, whole
from lamina.maths.color import RgbPixels, srgb_to_lab
from lamina.maths.gamut import Codes

IN_COLOR: Final = "in color already, colored anew from the lightness"
PAGES: Final = "of several pages or frames, the first was colored"
FLAT: Final = "without any contrast, colored all the same"
PROFILE: Final = "color profile not used, taken for sRGB"
CUT_DEPTH: Final = "written with 8 bits a channel, fewer than it has"
TWELVE_BITS: Final = "of 12 bits in 16, none above 4095, which was taken for white"
FLOATS: Final = "of float values, 0 taken for black and 1 for white, written with 16 bits"
CUT_ALPHA: Final = "written without its transparency, which the format cannot hold"

# formats that can hold color, by suffix; WebP and JPEG at a quality where loss does not show, TIFF packed without loss
_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".bmp": "BMP", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
    }
)  # fmt: skip
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "BMP": {},
        "JPEG": {"quality": 95},
        "PNG": {"compress_level": 2},  # a fifth of the time of 6 for a twelfth more bytes
        "TIFF": {"compression": "tiff_lzw"},
        "WEBP": {"quality": 95, "method": 2},
    }
)
_DEEP: Final = ("PNG", "TIFF")  # formats that hold 16 bits a channel
_CLEAR: Final = ("PNG", "TIFF", "WEBP")  # formats that hold transparency

_TURNS: Final[Mapping[int, Callable[[Any], Any]]] = MappingProxyType(
    {  # by EXIF orientation
        2: np.fliplr,
        3: lambda pixels: np.rot90(pixels, 2),
        4: np.flipud,
        5: lambda pixels: np.swapaxes(pixels, 0, 1),
        6: lambda pixels: np.rot90(pixels, -1),
        7: lambda pixels: np.rot90(np.swapaxes(pixels, 0, 1), 2),
        8: lambda pixels: np.rot90(pixels, 1),
    }
)
_FAULTS: Final = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class Original:
    """A picture as it is shown, in sRGB, at the depth of its file.

    pixels: greys (H, W), or colors (H, W, 3), of uint8 or uint16; alpha: (H, W), alike, None where all is opaque;
    square: (S, S, 3) uint8, as the stage `convert` makes it of whole pictures; inside: its rows and columns that show
    the picture itself, not its edges gone on; notes: what people should know of it.
    """

    pixels: Codes
    alpha: Codes | None
    square: RgbPixels
    inside: tuple[slice, slice]
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        height, width = self.pixels.shape[:2]
        return width, height


def target_suffix(suffix: str) -> str:
    """The suffix of what is written for a file of this one: the same, or that of PNG where it could hold no color."""
    return suffix if suffix.lower() in _FORMATS else ".png"


def read_original(encoded: bytes, size: int, fit: Fit = "pad") -> Original:
    """Decode a picture, upright, to sRGB, and make its square of `size`, by `fit` (`lamina.data.pixels.whole`).

    Of several pages the first; whole 32-bit greys come as 16-bit ones, or as bytes where none is above 255. 16-bit
    greys above 255 of which none is above 4095 are 12-bit ones, of which 4095 is white; of float greys 1 is white.
    Raises UnreadableError, also for float values beyond 0 to 1.
    """
    opened = open_picture(encoded)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken metadata
            notes = [PAGES] if getattr(opened, "n_frames", 1) > 1 else []
            pixels, alpha, noted = _pixels(opened, encoded)
    except _FAULTS as error:
        raise UnreadableError(str(error) or type(error).__name__) from None
    flat = _flat(pixels, alpha)
    region = whole(*flat.size, fit)
    if pixels.ndim == 3 and not is_grey(np.asarray(flat.reduce(max(1, min(flat.size) // 32)))):
        notes.append(IN_COLOR)
    if _is_flat(pixels):
        notes.append(FLAT)
    square, inside = cut_square(flat, size, region), inside_square(*flat.size, size, region)
    return Original(pixels=pixels, alpha=alpha, square=square, inside=inside, notes=(*notes, *noted))


def _is_flat(pixels: Codes) -> bool:
    """Whether no two pixels differ by as much as 1 in L: first by a few of them, which is enough for most pictures."""
    step = max(1, min(pixels.shape[:2]) // 32)
    pictures = (Image.fromarray(_upper_bits(part)).convert("RGB") for part in (pixels[::step, ::step], pixels))
    return all(np.ptp(srgb_to_lab(np.asarray(picture))[..., 0]) < 100 for picture in pictures)


def inside_square(width: int, height: int, size: int, region: Region) -> tuple[slice, slice]:
    """Rows and columns of a picture's square of `size` that show the picture itself, not its edges gone on."""
    spans = span(region.top, region.height, height, size), span(region.left, region.width, width, size)
    rows, columns = (slice(one.missing[0], size - one.missing[1]) for one in spans)
    return rows, columns


def target_depth(original: Original, suffix: str) -> np.dtype[Any]:
    """The type of the pixels that `write_original` shall be given for a file of this suffix."""
    return original.pixels.dtype if _FORMATS[suffix.lower()] in _DEEP else np.dtype(np.uint8)


def write_original(pixels: Codes, original: Original, path: Path) -> list[str]:
    """Write sRGB pixels, (H, W, 3) of `target_depth`, in the format of the path's suffix, with the original's alpha.

    No metadata are written. Returns what people should know of it.
    """
    form = _FORMATS[path.suffix.lower()]
    notes = [CUT_DEPTH] if pixels.dtype != original.pixels.dtype else []
    alpha = original.alpha
    if alpha is not None and form not in _CLEAR:
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
    """16-bit colors as a file's bytes: Pillow writes 8-bit ones alone."""
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
            turn = _TURNS.get(orientation(opened) if opened.format == "PNG" else 1, np.asarray)
            colors, opacity = deep
            colors, noted = _full_range(colors)
            return turn(colors), None if opacity is None else turn(opacity), noted + _profile_note(opened)
    profile, clear = opened.info.get("icc_profile"), opened.info.get("transparency")
    opened.load()
    upright = opened if orientation(opened) == 1 else ImageOps.exif_transpose(opened)
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        codes = _to_codes(np.asarray(upright))
        top = np.iinfo(codes.dtype).max
        seen: Any = None if clear is None else np.where(codes == clear, 0, top).astype(codes.dtype)
        pixels, noted = (codes, [FLOATS]) if upright.mode == "F" else _full_range(codes)
        return pixels, seen, noted + _profile_note(opened)
    if upright.mode == "LAB":
        return np.asarray(_lab_in_srgb(upright)), None, []
    noted = [CUT_DEPTH] if _bits(opened) > 8 else []
    alpha = None
    if clear is not None or upright.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        grey = upright.mode in ("1", "L", "LA", "La")
        upright = upright.convert("RGBA")
        alpha = np.asarray(upright.getchannel("A"))
        upright = upright.getchannel("G") if grey else upright.convert("RGB")
    elif upright.mode not in ("L", "RGB", "CMYK"):
        upright = upright.convert("L" if upright.mode == "1" else "RGB")
    if profile:
        upright, told = _in_srgb(upright, profile)
        noted += told
    if upright.mode == "CMYK":
        upright = upright.convert("RGB")
    return np.asarray(upright), alpha, noted


def _flat(pixels: Codes, alpha: Codes | None) -> Image.Image:
    """8-bit RGB on white, as `decode` makes it."""
    picture = Image.fromarray(_upper_bits(pixels))
    if alpha is not None:
        picture.putalpha(Image.fromarray(_upper_bits(alpha)))
    return decode(picture)


def _upper_bits(codes: Codes) -> RgbPixels:
    return codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)  # type: ignore[return-value]  # not seen


def _bits(opened: Image.Image) -> int:
    """Bits a channel, as the header says."""
    if isinstance(opened, TiffImageFile):
        return int(max(opened.tag_v2.get(258, (8,))))
    tile = getattr(opened, "tile", None)
    return 16 if tile and "16" in str(tile[0].args) else 8  # of PNG: `RGB;16B`


def _decode_deep(encoded: bytes) -> tuple[Codes, Codes | None] | None:
    """16-bit colors and alpha, which Pillow would cut to 8 bits; None where OpenCV cannot read them either."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # else it tells what its own files lack
    try:
        found = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None or found.dtype != np.uint16 or found.ndim != 3 or found.shape[2] not in (3, 4):
        return None
    return found[..., 2::-1], found[..., 3] if found.shape[2] == 4 else None


def _to_codes(values: np.ndarray) -> Codes:
    """16-bit greys as they are; floats scaled to 16 bits; 32-bit ones cut to those, or to bytes, as `decode` does."""
    if values.dtype.kind == "u":
        return values.astype(np.uint16, copy=False)
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also where there is one that is no number
            raise ValueError(f"expected float values from 0 to 1, found {low:.4g} to {high:.4g}; scale them")
        return np.asarray(np.rint(values * np.float32(65535)), np.uint16)
    if values.max(initial=0) > 255:
        return np.asarray(values.clip(0, 65535), np.uint16)
    return np.asarray(values.clip(0, 255), np.uint8)


def _full_range(codes: Codes) -> tuple[Codes, list[str]]:
    """Pixels as they are, but greys of 12 bits in 16 brought to all 16; and notes. Dark colors may be just that."""
    if codes.dtype == np.uint8 or not holds_twelve_bits(codes):
        return codes, []
    if codes.ndim == 3 and (codes != codes[..., :1]).any():
        return codes, []
    full: Codes = (codes << 4 | codes >> 8).astype(np.uint16)
    return full, [TWELVE_BITS]


def _lab_in_srgb(picture: Image.Image) -> Image.Image:
    """8-bit CIELAB in sRGB; its white is D50, in TIFF as in ICC profiles."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    found = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    assert found is not None  # it is only where the picture is changed in place
    return found


def _profile_note(opened: Image.Image) -> list[str]:
    profile = opened.info.get("icc_profile")
    return [PROFILE] if profile and not _is_srgb(profile) else []


def _is_srgb(profile: bytes) -> bool:
    try:
        told = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return False
    return "srgb" in told.lower()


def _in_srgb(picture: Image.Image, profile: bytes) -> tuple[Image.Image, list[str]]:
    """A picture in L, RGB or CMYK, brought from its profile to sRGB; as it is, and a note, where that fails."""
    if _is_srgb(profile):
        return picture, []
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return picture, [PROFILE]
    assert found is not None  # it is only where the picture is changed in place
    return (found.getchannel("G") if picture.mode == "L" else found), []
