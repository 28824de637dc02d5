"""sRGB to CIELAB and back, in integers, without loss.

CIELAB is stored as int16, 100 per CIELAB unit. At this resolution, all 256**3 sRGB colors have different values, and
`lab_to_srgb` recovers each of them exactly.

Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB, D65, 2 degree observer).
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

RgbPixels = npt.NDArray[np.uint8]
LabPixels = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]

UNITS: Final = 100  # stored integers per CIELAB unit

RGB_TO_XYZ: Final = np.array(  # from linear light; ITU-R BT.709 primaries, rows X, Y, Z
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
WHITE: Final = np.array([0.95047, 1.0, 1.08883])  # X, Y, Z of D65

KNEE: Final = 6 / 29  # below it, a tangent line replaces the cube root
_SLOPE: Final = 3 * KNEE**2
_GAMMA_STEPS: Final = (1 << 16) - 1
_PIXELS_AT_ONCE: Final = 1 << 14  # they fit a core's cache


def linear_light(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert sRGB values to linear light.

    Args:
        values: of any shape, 0 to 1.

    Returns:
        The same shape, 0 to 1.
    """
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _gamma_table() -> RgbPixels:
    """(1, steps) uint8: the sRGB value nearest to each of `_GAMMA_STEPS` + 1 steps of linear light, 0 to 1."""
    boundaries = linear_light((np.arange(255) + 0.5) / 255)
    return np.searchsorted(boundaries, np.linspace(0, 1, _GAMMA_STEPS + 1)).astype(np.uint8)[None]


# 8-bit values to linear light, to X, Y, Z relative to white, through the cube root to L, a, b; and the way back
_LINEAR = linear_light(np.arange(256) / 255).astype(np.float32)[None]
TO_XYZ: Final = (RGB_TO_XYZ / WHITE[:, None]).astype(np.float32)
_ROOTS_TO_LAB = np.array([[0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]], np.float32) * UNITS
_LAB_TO_ROOTS = np.array(
    [
        [1 / 116, 1 / 500, 0, UNITS * 16 / 116],
        [1 / 116, 0, 0, UNITS * 16 / 116],
        [1 / 116, 0, -1 / 200, UNITS * 16 / 116],
    ]
).astype(np.float32) / np.float32(UNITS)
_TO_STEPS = (np.linalg.inv(RGB_TO_XYZ / WHITE[:, None]) * _GAMMA_STEPS).astype(np.float32)
_GAMMA = _gamma_table()


def srgb_to_lab(rgb: RgbPixels) -> LabPixels:
    """Convert sRGB to CIELAB.

    Args:
        rgb: (..., 3) uint8.

    Returns:
        (..., 3) int16, CIELAB x 100: L 0..10000, a about -8618..9824, b about -10786..9448.
    """
    lab = np.empty(rgb.shape, np.int16)
    pixels, out = rgb.reshape(-1, 1, 3), lab.reshape(-1, 1, 3)
    for start in range(0, len(pixels), _PIXELS_AT_ONCE):
        chunk = slice(start, start + _PIXELS_AT_ONCE)
        xyz = cv2.transform(cv2.LUT(np.ascontiguousarray(pixels[chunk]), _LINEAR), TO_XYZ)
        values = cv2.transform(compress(xyz), _ROOTS_TO_LAB)
        out[chunk] = np.rint(values, out=values)
    return lab


def lab_to_srgb(lab: LabPixels) -> RgbPixels:
    """Convert CIELAB to sRGB; each channel is clipped to its range.

    Args:
        lab: (..., 3) int16, CIELAB x 100.

    Returns:
        (..., 3) uint8: the exact inverse of `srgb_to_lab` on all 256**3 colors.
    """
    rgb = np.empty(lab.shape, np.uint8)
    pixels, out = lab.reshape(-1, 1, 3), rgb.reshape(-1, 1, 3)
    for start in range(0, len(pixels), _PIXELS_AT_ONCE):
        chunk = slice(start, start + _PIXELS_AT_ONCE)
        roots = cv2.transform(pixels[chunk].astype(np.float32), _LAB_TO_ROOTS)
        steps = cv2.transform(expand(roots), _TO_STEPS)
        np.rint(np.clip(steps, 0, _GAMMA_STEPS, out=steps), out=steps)
        out[chunk] = cv2.LUT(steps.astype(np.uint16), _GAMMA)
    return rgb


def compress(light: Floats) -> Floats:
    """Apply CIELAB's cube root, which is a straight line for dark values, to X, Y or Z relative to white.

    Args:
        light: of any shape; values below 0 are allowed.

    Returns:
        The same shape; for Y it is (L + 16) / 116.
    """
    # the sum of two parts: one is constant where the other changes
    roots: Floats = np.cbrt(np.maximum(light, np.float32(KNEE**3)))
    roots += np.minimum(light - np.float32(KNEE**3), 0) / np.float32(_SLOPE)
    return roots


def expand(roots: Floats) -> Floats:
    """Convert roots back to X, Y or Z relative to white: the inverse of `compress`."""
    bright = np.maximum(roots, np.float32(KNEE))
    light: Floats = bright * bright * bright
    light += np.minimum(roots - np.float32(KNEE), 0) * np.float32(_SLOPE)
    return light
