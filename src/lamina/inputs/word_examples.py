"""Rows of a matrix of words as examples, and predictions of networks that take such rows."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lamina.inputs.batches import BatchExamples

ROWS_AT_ONCE: Final = 1024


@dataclass(frozen=True)
class WordExamples(BatchExamples):
    """Texts as rows of a sparse matrix, (n, width) CSR, and their class numbers, (n,) int32."""

    matrix: Any
    labels: np.ndarray

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def predict(self, network: Any) -> np.ndarray:
        """Return a network's class probabilities for all rows, (n, classes)."""
        return predict_words(network, self.matrix)

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.matrix[rows].todense(), np.float32), self.labels[rows]


def predict_words(network: Any, matrix: Any) -> np.ndarray:
    """Predict for rows of words without making them dense: a million columns would not fit into memory.

    Args:
        network: Keras model from (n, width) to (n, classes), whose first layer is a Dense one.
        matrix: (n, width) sparse.

    Returns:
        (n, classes) float32.
    """
    from lamina.models.keras_runtime import keras

    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
    kernel, bias = first.get_weights()
    rest = keras.Model(first.output, network.output) if first.output is not network.output else None
    found = []
    for start in range(0, matrix.shape[0], ROWS_AT_ONCE):
        sums = matrix[start : start + ROWS_AT_ONCE] @ kernel + bias
        hidden = first.activation(keras.ops.convert_to_tensor(np.asarray(sums, np.float32)))
        found.append(np.asarray(rest(hidden, training=False) if rest else hidden))
    return np.concatenate(found)
