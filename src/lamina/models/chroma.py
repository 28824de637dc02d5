"""The color of pictures without their lightness, as networks are given it."""

from typing import Any, Final

import numpy as np

from lamina.maths.color import KNEE, TO_XYZ

SPREAD: Final = 50.0  # CIELAB units that a network's unit of a or b, or of L less 50, stands for: all lie about -1..1

# cube roots of X, Y, Z over white to a and b in units of `SPREAD`; a third channel, for backbones take three, is zero
_TO_CHROMA: Final = np.array([[500, -500, 0], [0, 200, -200], [0, 0, 0]], np.float32) / np.float32(SPREAD)


def chroma(pixels: Any) -> Any:
    """From RGB values 0..255, (n, S, S, 3), to a / 50, b / 50 and 0, (n, S, S, 3): CIELAB without its L.

    Plain operations of Keras, so that a saved model loads in its safe mode, and without lamina.
    Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB, D65, 2 degree observer).
    """
    from lamina.models.keras_runtime import keras

    ops = keras.ops
    values = pixels / 255.0
    bright = _power((ops.maximum(values, 0.04045) + 0.055) / 1.055, 2.4)
    light = ops.matmul(ops.where(values > 0.04045, bright, values / 12.92), TO_XYZ.T)
    # a cube root and a straight line: each stands still where the other runs
    dark = ops.minimum(light - KNEE**3, 0.0) / (3 * KNEE**2)
    return ops.matmul(_power(ops.maximum(light, KNEE**3), 1 / 3) + dark, _TO_CHROMA.T)


def _power(values: Any, exponent: float) -> Any:
    """Powers of values above 0. OpenVINO takes a logarithm and an exponential in a quarter of the time."""
    from lamina.models.keras_runtime import keras

    return keras.ops.exp(exponent * keras.ops.log(values))
