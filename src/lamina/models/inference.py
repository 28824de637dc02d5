"""Saved networks asked about pictures."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np

from lamina.models.keras_runtime import tf

BATCH: Final = 32

# from pictures, (n, S, S, 3) RGB 0..255, to an array with a row for each, which depends on that picture alone
Ask: TypeAlias = Callable[[np.ndarray], np.ndarray]


def inference(network: Any) -> Ask:
    """What asks a Keras model with one output about pictures, `BATCH` at a time."""
    ask = as_function(network)
    return lambda pixels: np.concatenate([ask(batch).numpy() for batch in in_batches(pixels)])


def as_function(network: Any) -> Any:
    """A Keras model as one TensorFlow function of (n, ...) float32, whatever n.

    Keras' own `predict` makes one for whole batches and another for the last, smaller one; of deep networks each
    takes longer than some hundred answers.
    """
    shape = tf.TensorSpec((None, *network.input.shape[1:]), tf.float32)
    return tf.function(lambda pixels: network(pixels, training=False), input_signature=[shape], autograph=False)


def in_batches(pixels: np.ndarray) -> Iterator[Any]:
    """Pictures as float32 tensors of `BATCH` at most."""
    for start in range(0, len(pixels), BATCH):
        yield tf.constant(pixels[start : start + BATCH], tf.float32)
