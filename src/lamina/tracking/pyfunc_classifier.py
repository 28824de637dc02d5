"""The code that travels with a model logged to MLflow ("models from code"): it imports nothing of lamina."""

from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class Classifier(PythonModel):
    """Probabilities of the classes for pictures."""

    def load_context(self, context: PythonModelContext) -> None:
        # the only place where TensorFlow is needed: logging a model is quick without it
        import keras

        self.network = keras.models.load_model(context.artifacts["network"], compile=False)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """model_input: (n, S, S, 3) uint8 RGB. Returns n rows of probabilities, one float32 column per class."""
        probabilities = self.network.predict(model_input, verbose=0)
        return pd.DataFrame(probabilities, columns=context.model_config["classes"])


mlflow.models.set_model(Classifier())
