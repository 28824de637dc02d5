"""Keras on TensorFlow, imported once, without messages, and deterministic.

This import takes several seconds: only modules that always need a network import this module at the top; others use
`lamina.models.lazy_keras`, or import it inside functions.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lamina.prefetch import LOADING
from lamina.quiet_stderr import quiet_stderr

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def _loading() -> Iterator[None]:
    """Import without garbage collection, which would scan the new modules again and again (a fifth of the time)."""
    gc.disable()
    try:
        with LOADING, quiet_stderr(python=False):
            yield
        gc.freeze()
    finally:
        gc.enable()


with _loading():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()  # prints a message if there is no GPU: hide it here

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "tf"]
