"""The code that travels with a model logged to MLflow ("models from code").

A model of texts, over an ONNX file, or whose answers are judged, brings lamina with it; others need nothing of it.
"""

from pathlib import Path
from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class Served(PythonModel):
    """A saved network of any task, from pictures or texts to what it predicts."""

    vectorizer: Any = None  # of texts
    judge: Any = None  # of the doubt of answers
    divided: Any = None  # the network, by whose features pictures unlike those of training are found

    def load_context(self, context: PythonModelContext) -> None:
        # the only place where TensorFlow is needed: logging a model is quick without it
        import keras

        if context.model_config.get("own_layer"):
            import lamina.models.onnx_layer  # noqa: F401  # Keras finds the layer by its name
        self.network = keras.models.load_model(context.artifacts["network"], compile=False)
        if "words" in context.artifacts:
            from lamina.inputs.words import read_vectorizer

            self.vectorizer = read_vectorizer(Path(context.artifacts["words"]))
        if "uncertainty" in context.artifacts:
            from lamina.models.divided import Divided
            from lamina.results.uncertainty import Judge

            self.judge = Judge(Path(context.artifacts["uncertainty"]), "evaluate")
            self.divided = Divided(self.network) if self.judge.known.neighborhood else None

    # without a hint for the input: MLflow takes hints for a schema, and the signature has that already
    def predict(self, context: PythonModelContext, model_input, params: dict[str, Any] | None = None) -> Any:  # type: ignore[no-untyped-def]
        """Predict for pictures, (n, S, S, 3) uint8 RGB, or for texts, a table with the column `text`.

        Returns:
            What the model's signature says: a table with a column of probabilities per class, then, where answers are
            judged, the columns of `lamina.results.uncertainty.Judge`; or an array.
        """
        config = context.model_config
        distance = None
        if self.vectorizer:
            found = self._of_texts(model_input)
        elif self.divided:
            found, features = self.divided.outputs_and_features(model_input)
            distance = self.judge.distances(features)
        else:
            found = self.network.predict(model_input, verbose=0)
        if config["columns"]:
            table = pd.DataFrame(found, columns=config["columns"])
            return table if self.judge is None else table.join(self.judge.table(found, distance))
        return np.rint(np.clip(found, 0, 255)).astype(np.uint8) if config["output_type"] == "uint8" else found

    def _of_texts(self, table: Any) -> np.ndarray:
        from lamina.inputs.word_examples import predict_words

        return predict_words(self.network, self.vectorizer.transform_raw(table["text"].tolist()))


mlflow.models.set_model(Served())
