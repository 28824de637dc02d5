"""The code that travels with a model logged to MLflow ("models from code"): it imports nothing of lamina."""

from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class Served(PythonModel):
    """A saved network of any task, from pictures to what it predicts."""

    def load_context(self, context: PythonModelContext) -> None:
        # the only place where TensorFlow is needed: logging a model is quick without it
        import keras

        self.network = keras.models.load_model(context.artifacts["network"], compile=False)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray | pd.DataFrame:
        """Predict for pictures, (n, S, S, 3) uint8 RGB.

        Returns:
            What the model's signature says: a table with a column of probabilities per class, or an array.
        """
        config = context.model_config
        found: np.ndarray = self.network.predict(model_input, verbose=0)
        if config["columns"]:
            return pd.DataFrame(found, columns=config["columns"])
        return np.rint(np.clip(found, 0, 255)).astype(np.uint8) if config["output_type"] == "uint8" else found


mlflow.models.set_model(Served())
