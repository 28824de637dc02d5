"""Keras on TensorFlow, loaded once, quietly and deterministically.

Importing this module takes several seconds: only modules that cannot do without a network import it,
and those on floors that may be imported without one do so inside their functions.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def silenced() -> Iterator[None]:
    """Drop what libraries print to stderr past Python's own stream."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with silenced():
    import tensorflow  # noqa: F401

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "silenced", "tf"]
