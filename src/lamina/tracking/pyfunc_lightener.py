"""The code that travels with a logged model of a pretext run ("models from code"): it imports nothing of lamina."""

from typing import Any

import mlflow.models
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class Lightener(PythonModel):
    """Lightness for pictures, of which it sees the color alone."""

    def load_context(self, context: PythonModelContext) -> None:
        # the only place where TensorFlow is needed: logging a model is quick without it
        import keras

        self.network = keras.models.load_model(context.artifacts["network"], compile=False)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """model_input: (n, S, S, 3) uint8 RGB. Returns (n, S, S, 1) float32, about 0 to 100: L of CIELAB."""
        found: np.ndarray = self.network.predict(model_input, verbose=0)
        return found


mlflow.models.set_model(Lightener())
