"""Converts pictures from the color profile in their file (ICC) to sRGB, at 8 or 16 bits per channel."""

import io
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from lamina.maths.gamut import Codes

LAB: Final = "LAB"
_SPACES: Final = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}  # color space of a profile, by the mode of a picture
_STEPS: Final = 9  # of each channel, in the colors that show whether a profile is that of sRGB
_SAME: Final = 2  # of 255: profiles of sRGB differ by no more


class ProfileError(Exception):
    """A profile that is broken, or of another kind of picture."""


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture from its profile to sRGB.

    Args:
        picture: In L, RGB or CMYK.
        profile: Bytes of the profile.

    Returns:
        The picture in L or RGB; itself if the profile is that of sRGB.

    Raises:
        ProfileError: If the profile cannot be used for it.
    """
    transform = _transform(profile, picture.mode)
    if transform is None:
        return picture
    return _apply(transform, picture)


def deep_to_srgb(colors: Codes, profile: bytes) -> Codes:
    """Convert 16-bit pixels from a profile to sRGB, as `to_srgb` converts 8-bit ones.

    Args:
        colors: (H, W) or (H, W, 3) uint16.
        profile: Bytes of the profile.

    Raises:
        ProfileError: If the profile cannot be used for it.
    """
    mode = "L" if colors.ndim == 2 else "RGB"
    if _transform(profile, mode) is None:
        return colors
    from imagecodecs import cms_transform  # Pillow converts 8 bits alone

    of_greys = _space(profile) == "GRAY"
    given = np.dstack([colors] * 3) if mode == "L" and not of_greys else colors
    converted = cms_transform(given, profile, _srgb().tobytes(), colorspace="gray" if of_greys else "rgb",
                              outcolorspace="rgb")  # fmt: skip
    return converted[..., 1] if mode == "L" else converted


def lab_to_srgb(picture: Image.Image) -> Image.Image:
    """Convert an 8-bit picture in CIELAB; its white is D50, in TIFF as in ICC profiles."""
    converted = ImageCms.profileToProfile(picture, ImageCms.createProfile(LAB), _srgb(), outputMode="RGB")
    assert converted is not None  # None only if it works in place
    return converted


def _apply(transform: Any, picture: Image.Image) -> Image.Image:
    if picture.mode != "L":
        return _converted(transform, picture)
    # greys may have a profile of colors, which treats all channels alike
    given = picture if transform.input_mode == "L" else picture.convert("RGB")
    return _converted(transform, given).getchannel("G")


def _converted(transform: Any, picture: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None  # None only if it works in place
    return converted


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    """The conversion to sRGB; None if it changes no color visibly. Raises ProfileError."""
    space = _space(profile)
    if space != _SPACES[mode] and (mode, space) != ("L", "RGB "):
        raise ProfileError(f"a profile of {space.strip()} for a picture in {mode}")
    given = "RGB" if space == "RGB " else mode
    try:
        transform = ImageCms.buildTransform(_opened(profile), _srgb(), given, "RGB")
    except ImageCms.PyCMSError as error:
        raise ProfileError(str(error)) from None
    if mode == "CMYK":
        return transform
    colors = _colors(mode)
    changed = np.asarray(_apply(transform, colors)).astype(int) - np.asarray(colors)
    return None if np.abs(changed).max() <= _SAME else transform


def _colors(mode: str) -> Image.Image:
    """Colors all over the range."""
    steps = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    if mode == "L":
        return Image.fromarray(steps[None])
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))


def _space(profile: bytes) -> str:
    return str(_opened(profile).profile.xcolor_space)


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise ProfileError(str(error)) from None


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
