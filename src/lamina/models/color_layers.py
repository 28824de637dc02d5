"""sRGB to CIELAB's lightness and back, as layers of a network, so that a saved colorizer takes and gives pictures.

Plain operations of Keras: a saved model loads in safe mode, and without lamina.
Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB, D65, 2 degree observer).
"""

from typing import Any, Final

import numpy as np

from lamina.maths.color import KNEE, TO_XYZ
from lamina.models import lazy_keras as keras

_SLOPE: Final = 3 * KNEE**2
_TO_RGB: Final = np.linalg.inv(TO_XYZ.astype(np.float64)).astype(np.float32)  # X, Y, Z over white to linear light


def lightness(pixels: Any) -> Any:
    """Return CIELAB's L, (n, S, S, 1) from 0 to 100, of RGB values 0..255, (n, S, S, 3)."""
    ops = keras.ops
    values = pixels / 255.0
    bright = ops.power((ops.maximum(values, 0.04045) + 0.055) / 1.055, 2.4)
    light = ops.where(values > 0.04045, bright, values / 12.92)
    luminance = ops.matmul(light, TO_XYZ[1][:, None])
    # a cube root and a straight line, of which one stays constant where the other counts
    root = ops.power(ops.maximum(luminance, KNEE**3), 1 / 3) + ops.minimum(luminance - KNEE**3, 0.0) / _SLOPE
    return 116.0 * root - 16.0


def to_rgb(light: Any, colors: Any) -> Any:
    """Return RGB values 0..255, (n, S, S, 3), of L (n, S, S, 1) and a, b (n, S, S, 2); channels beyond sRGB are cut."""
    ops = keras.ops
    middle = (light + 16.0) / 116.0
    a, b = colors[..., :1], colors[..., 1:]
    roots = ops.concatenate([middle + a / 500.0, middle, middle - b / 200.0], axis=-1)
    bright = ops.maximum(roots, KNEE)
    xyz = bright * bright * bright + ops.minimum(roots - KNEE, 0.0) * _SLOPE
    linear = ops.clip(ops.matmul(xyz, _TO_RGB.T), 0.0, 1.0)
    curve = 1.055 * ops.power(ops.maximum(linear, 0.0031308), 1 / 2.4) - 0.055
    return 255.0 * ops.where(linear > 0.0031308, curve, 12.92 * linear)
