"""Keras on TensorFlow, loaded once, quietly and deterministically.

Importing this module takes several seconds: only modules that cannot do without a network import it,
and those on floors that may be imported without one do so inside their functions.
"""

import os

from lamina.silence import silenced

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


with silenced():
    import tensorflow  # noqa: F401

import keras
import tensorflow as tf

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "tf"]
