"""Prediction with Keras networks."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np

from lamina.models.keras_runtime import tf

BATCH: Final = 32

# from pictures, (n, S, S, 3) RGB 0..255, to an array with one row each; a row depends on its picture alone
Predictor: TypeAlias = Callable[[np.ndarray], np.ndarray]


def inference(network: Any) -> Predictor:
    """Make a function that predicts pictures with a Keras model of one output, `BATCH` at a time."""
    predict = as_tf_function(network)
    return lambda pixels: np.concatenate([predict(batch).numpy() for batch in tensor_batches(pixels)])


def as_tf_function(network: Any) -> Any:
    """Make one TensorFlow function of (n, ...) float32 of a Keras model, for any n.

    Keras' own `predict` traces one function for full batches and another for the last, smaller one. For deep networks,
    each trace takes longer than predicting some hundred pictures.
    """
    shape = tf.TensorSpec((None, *network.input.shape[1:]), tf.float32)
    return tf.function(lambda pixels: network(pixels, training=False), input_signature=[shape], autograph=False)


def tensor_batches(pixels: np.ndarray) -> Iterator[Any]:
    """Yield pictures as float32 tensors of at most `BATCH`."""
    for start in range(0, len(pixels), BATCH):
        yield tf.constant(pixels[start : start + BATCH], tf.float32)
