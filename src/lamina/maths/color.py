"""sRGB to CIELAB and back, in integers, so that nothing is lost.

CIELAB is held as int16 at a hundredth of its unit. At that resolution no two of the 256**3 sRGB colors
share a triple, and `lab_to_srgb` returns each of them exactly.
Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB, D65, 2 degree observer).
"""

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
_FROM_LINEAR = (_RGB_TO_XYZ / _WHITE[:, None]).T.astype(np.float32)
_TO_LINEAR = np.linalg.inv(_RGB_TO_XYZ / _WHITE[:, None]).T.astype(np.float32)

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
    xyz = _LINEAR[rgb].reshape(-1, 3) @ _FROM_LINEAR
    f = np.cbrt(xyz)
    np.copyto(f, xyz / np.float32(_SLOPE) + np.float32(4 / 29), where=xyz <= _KNEE**3)
    lab = np.empty_like(f)
    lab[:, 0] = f[:, 1] * (116 * UNITS) - 16 * UNITS
    lab[:, 1] = (f[:, 0] - f[:, 1]) * (500 * UNITS)
    lab[:, 2] = (f[:, 1] - f[:, 2]) * (200 * UNITS)
    stored: LabPixels = np.rint(lab, out=lab).astype(np.int16)
    return stored.reshape(rgb.shape)


def lab_to_srgb(lab: LabPixels) -> RgbPixels:
    """Bring CIELAB back to sRGB; colors outside sRGB go to the nearest channel value.

    lab: (..., 3) int16, CIELAB x 100.
    Returns (..., 3) uint8: the exact inverse of `srgb_to_lab` on all 256**3 colors.
    """
    flat = lab.reshape(-1, 3)
    f = np.empty(flat.shape, np.float32)
    f[:, 1] = (flat[:, 0] + np.float32(16 * UNITS)) / np.float32(116 * UNITS)
    f[:, 0] = f[:, 1] + flat[:, 1] / np.float32(500 * UNITS)
    f[:, 2] = f[:, 1] - flat[:, 2] / np.float32(200 * UNITS)
    xyz = f * f * f
    np.copyto(xyz, (f - np.float32(4 / 29)) * np.float32(_SLOPE), where=f <= np.float32(_KNEE))
    linear = xyz @ _TO_LINEAR
    linear *= _GAMMA_STEPS
    steps = np.rint(np.clip(linear, 0, _GAMMA_STEPS, out=linear), out=linear).astype(np.int32)
    return _GAMMA[steps].reshape(lab.shape)
