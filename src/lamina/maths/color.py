"""sRGB to CIELAB and back, in integers, so that nothing is lost.

CIELAB is held as int16 at a hundredth of its unit. At that resolution no two of the 256**3 sRGB colors
share a triple, and `lab_to_srgb` returns each of them exactly.
Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB, D65, 2 degree observer).
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

RgbPixels = npt.NDArray[np.uint8]
LabPixels = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]

UNITS = 100  # stored integers per CIELAB unit

_RGB_TO_XYZ = np.array(  # ITU-R BT.709 primaries, rows X, Y, Z
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_FROM_LINEAR = (_RGB_TO_XYZ / _WHITE[:, None]).astype(np.float32)
_TO_LINEAR = np.linalg.inv(_RGB_TO_XYZ / _WHITE[:, None]).astype(np.float32)

_KNEE = 6 / 29  # where the cube root turns into a straight line
_SLOPE = 3 * _KNEE**2
_GAMMA_STEPS = 1 << 15


def _linear_light(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _gamma_table() -> RgbPixels:
    """The 8-bit sRGB value nearest to each of `_GAMMA_STEPS` + 1 steps of linear light from 0 to 1."""
    boundaries = _linear_light((np.arange(255) + 0.5) / 255)
    return np.searchsorted(boundaries, np.linspace(0, 1, _GAMMA_STEPS + 1)).astype(np.uint8)


_LINEAR = _linear_light(np.arange(256) / 255).astype(np.float32)
_GAMMA = _gamma_table()


def srgb_to_lab(rgb: RgbPixels) -> LabPixels:
    """Bring sRGB to CIELAB.

    rgb: (..., 3) uint8.
    Returns (..., 3) int16, CIELAB x 100: L 0..10000, a about -8618..9824, b about -10786..9448.
    """
    linear = [_LINEAR[rgb[..., channel]] for channel in range(3)]
    x, y, z = (_compress(_mix(linear, weights)) for weights in _FROM_LINEAR)
    lab = np.empty(rgb.shape, np.int16)
    for channel, value in enumerate((y * (116 * UNITS) - 16 * UNITS, (x - y) * (500 * UNITS), (y - z) * (200 * UNITS))):
        lab[..., channel] = np.rint(value, out=value)
    return lab


def lab_to_srgb(lab: LabPixels) -> RgbPixels:
    """Bring CIELAB back to sRGB; colors outside sRGB go to the nearest channel value.

    lab: (..., 3) int16, CIELAB x 100.
    Returns (..., 3) uint8: the exact inverse of `srgb_to_lab` on all 256**3 colors.
    """
    y = (lab[..., 0] + np.float32(16 * UNITS)) * np.float32(1 / (116 * UNITS))
    x = y + lab[..., 1] * np.float32(1 / (500 * UNITS))
    z = y - lab[..., 2] * np.float32(1 / (200 * UNITS))
    xyz = [_expand(value) for value in (x, y, z)]
    rgb = np.empty(lab.shape, np.uint8)
    for channel, weights in enumerate(_TO_LINEAR * np.float32(_GAMMA_STEPS)):
        steps = _mix(xyz, weights)
        rgb[..., channel] = _GAMMA[np.rint(np.clip(steps, 0, _GAMMA_STEPS, out=steps), out=steps).astype(np.int32)]
    return rgb


def _mix(planes: Sequence[Floats], weights: Floats) -> Floats:
    """A weighted sum of three planes: on small arrays faster than a matrix product, whose threads only spin."""
    mixed = planes[0] * weights[0]
    for plane, weight in zip(planes[1:], weights[1:], strict=True):
        mixed += plane * weight
    return cast(Floats, mixed)


def _compress(light: Floats) -> Floats:
    """CIELAB's cube root, a straight line in the dark."""
    root = np.cbrt(light)
    np.copyto(root, light / np.float32(_SLOPE) + np.float32(4 / 29), where=light <= _KNEE**3)
    return root


def _expand(root: Floats) -> Floats:
    """The inverse of `_compress`."""
    light = root * root * root
    np.copyto(light, (root - np.float32(4 / 29)) * np.float32(_SLOPE), where=root <= np.float32(_KNEE))
    return cast(Floats, light)
