"""The code that travels with a colorizer logged to MLflow ("models from code"): it imports nothing of lamina.

Its network speaks CIELAB (D65, 2 degree observer); here RGB goes in and comes out.
Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB).
"""

from typing import Any

import mlflow.models
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext

KNEE = 6 / 29  # where the cube root turns into a straight line, which touches it there
SLOPE = 3 * KNEE**2
# ITU-R BT.709 primaries, rows X, Y, Z, each over that of white
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
TO_XYZ /= np.array([[0.95047], [1.0], [1.08883]])
TO_RGB = np.linalg.inv(TO_XYZ).astype(np.float32)
STEPS = np.arange(256) / 255
LINEAR = np.where(STEPS <= 0.04045, STEPS / 12.92, ((STEPS + 0.055) / 1.055) ** 2.4)  # light of each 8-bit value


class Colorizer(PythonModel):
    """Colors for pictures, of which it sees the lightness alone."""

    def load_context(self, context: PythonModelContext) -> None:
        # the only place where TensorFlow is needed: logging a model is quick without it
        import keras

        self.network = keras.models.load_model(context.artifacts["network"], compile=False)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """model_input: (n, S, S, 3) uint8 RGB, grey or not. Returns as much, in new colors: L as it was where
        sRGB holds that (`lamina colorize` keeps it everywhere).
        """
        light = lightness(model_input)
        return to_rgb(light, self.network.predict(light, verbose=0))


def lightness(rgb: np.ndarray) -> np.ndarray:
    """L of sRGB: (..., 3) uint8 to (..., 1) float32, 0 to 100."""
    light = LINEAR[rgb] @ TO_XYZ[1]
    roots = np.where(light > KNEE**3, np.cbrt(light), (light - KNEE**3) / SLOPE + KNEE)
    found: np.ndarray = (116 * roots - 16).astype(np.float32)[..., None]
    return found


def to_rgb(light: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """L, (..., 1), with a and b, (..., 2), to (..., 3) uint8 sRGB; channels that lie outside are cut off."""
    middle = (light + 16) / 116
    roots = np.concatenate([middle + ab[..., :1] / 500, middle, middle - ab[..., 1:] / 200], axis=-1)
    xyz = np.where(roots > KNEE, roots**3, (roots - KNEE) * SLOPE + KNEE**3)
    linear = np.clip(xyz @ TO_RGB.T, 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    found: np.ndarray = np.rint(255 * values).astype(np.uint8)
    return found


mlflow.models.set_model(Colorizer())
