"""Values of pictures with more than 8 bits per channel, and how they become sRGB: depth, inversion, transparency."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np

from lamina.data.color_profiles import ProfileError, deep_to_srgb
from lamina.data.depth import FULL
from lamina.maths.gamut import Codes

_LARGEST: Final = (1 << FULL) - 1
# how to make a picture upright, by its EXIF orientation
_UPRIGHT: Final[dict[int, Callable[[Any], Any]]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.swapaxes(pixels, 0, 1), 2),
    8: lambda pixels: np.rot90(pixels, 1),
}
Values: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Values of a picture as its file stores them, upright.

    Attributes:
        values: Greys (H, W) or colors (H, W, 3), uint8 or uint16.
        depth: Bits of white, as the file says; None: it does not.
        least: Smallest depth that the file allows, if it does not say it.
        alpha: (H, W) of the same type, whose maximum is opaque; None: all is.
        clear: The grey that is transparent, if one is.
        inverted: Whether 0 is white.
        profile: ICC profile, if there is one.
        floats: Whether the file holds numbers from 0 to 1.
    """

    values: Values
    depth: int | None = None
    least: int = 8
    alpha: Values | None = None
    clear: int | None = None
    inverted: bool = False
    profile: bytes | None = None
    floats: bool = False

    @property
    def largest(self) -> int:
        """The largest value, by which the depth of a source is decided; 0 if the file says the depth."""
        return max(int(self.values.max(initial=0)), (1 << self.least) - 1) if self.depth is None else 0

    def upright(self, orientation: int) -> "Samples":
        """Turn and mirror as an EXIF orientation says."""
        turn = _UPRIGHT.get(orientation)
        if turn is None:
            return self
        return replace(self, values=turn(self.values), alpha=None if self.alpha is None else turn(self.alpha))

    def rows(self, some: slice) -> "Samples":
        """Return some rows of the picture."""
        return replace(self, values=self.values[some], alpha=None if self.alpha is None else self.alpha[some])

    def check(self, depth: int) -> None:
        """Raise ValueError if a value is above those of a depth that the file does not say."""
        largest = int(self.values.max(initial=0))
        if self.depth is None and largest >= 1 << depth:
            raise ValueError(
                f"holds the value {largest}, but {depth} bits end at {(1 << depth) - 1}; "
                "train with a higher convert.depth"
            )

    def in_srgb(self, depth: int) -> tuple[Codes, Codes | None, bool]:
        """Scale to the whole range of uint8 or uint16, where 0 is black, and convert to sRGB.

        Args:
            depth: Bits of white, if the file does not say.

        Returns:
            Pixels; alpha or None; and whether there is a profile that cannot be used.
        """
        colors = _full_range(self.values, self.depth or depth)
        if self.inverted:
            colors = np.iinfo(colors.dtype).max - colors
        alpha = self.alpha
        if self.clear is not None:
            alpha = np.where(self.values == self.clear, 0, np.iinfo(colors.dtype).max).astype(colors.dtype)
        if not self.profile:
            return colors, alpha, False
        try:
            return _profiled(colors, self.profile), alpha, False
        except ProfileError:
            return colors, alpha, True


def of_floats(values: Values) -> Values:
    """Scale numbers from 0 to 1 to 16 bits; raise ValueError for others."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise ValueError(f"expected float values from 0 to 1, found {low:.4g} to {high:.4g}; scale them")
    return np.asarray(np.rint(values * np.float32(_LARGEST)), np.uint16)


def of_integers(values: Values) -> Values:
    """Return integers of any type as uint8 or uint16; raise ValueError if one does not fit."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > _LARGEST:
        raise ValueError(f"expected values from 0 to {_LARGEST}, found {low} to {high}; scale them")
    return values.astype(np.uint16)


def _profiled(colors: Codes, profile: bytes) -> Codes:
    if colors.dtype == np.uint16:
        return deep_to_srgb(colors, profile)
    wide = _full_range(colors.astype(np.uint16), 8)
    return (deep_to_srgb(wide, profile) >> 8).astype(np.uint8)


def _full_range(values: Values, depth: int) -> Codes:
    """Scale to the range of the type: the bits are repeated, so that the largest value of the depth is white."""
    if values.dtype == np.uint8 or depth == FULL:
        return values
    return np.asarray(values << (FULL - depth) | values >> (2 * depth - FULL), np.uint16)
