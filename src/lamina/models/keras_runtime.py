"""Keras on TensorFlow, loaded once, quietly and deterministically.

Importing this module takes several seconds: only modules that cannot do without a network import it,
and those on floors that may be imported without one do so inside their functions.
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
    """What is loaded stays: to look for garbage in it, again and again, takes a fifth of the time."""
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

    tf.config.list_physical_devices()  # where there is no GPU, it says so

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "tf"]
