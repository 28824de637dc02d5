"""Color without lightness, as input of networks."""

from typing import Any, Final

import numpy as np

from lamina.maths.color import KNEE, TO_XYZ
from lamina.models import lazy_keras as keras

SPREAD: Final = 50.0  # CIELAB units per unit of a network: a, b and L - 50 are then about -1..1

# from cube roots of X, Y, Z relative to white to a and b in units of `SPREAD`, and a zero: backbones take 3 channels
_TO_CHROMA: Final = np.array([[500, -500, 0], [0, 200, -200], [0, 0, 0]], np.float32) / np.float32(SPREAD)


def chroma(pixels: Any) -> Any:
    """Convert RGB values to CIELAB without L.

    These are plain Keras operations, so that a saved model loads in safe mode and without lamina.

    Args:
        pixels: (n, S, S, 3) RGB values 0..255.

    Returns:
        (n, S, S, 3): a / 50, b / 50 and 0.

    Source:
        IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB, D65, 2 degree observer).
    """
    ops = keras.ops
    values = pixels / 255.0
    bright = _power((ops.maximum(values, 0.04045) + 0.055) / 1.055, 2.4)
    light = ops.matmul(ops.where(values > 0.04045, bright, values / 12.92), TO_XYZ.T)
    # the sum of a cube root and a straight line: one is constant where the other changes
    dark = ops.minimum(light - KNEE**3, 0.0) / (3 * KNEE**2)
    return ops.matmul(_power(ops.maximum(light, KNEE**3), 1 / 3) + dark, _TO_CHROMA.T)


def _power(values: Any, exponent: float) -> Any:
    """Power of values above 0; OpenVINO computes exp and log in a quarter of the time of a power."""
    return keras.ops.exp(exponent * keras.ops.log(values))
