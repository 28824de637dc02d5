"""Keras on TensorFlow, imported once, without messages, and deterministic.

This import takes several seconds: only modules that always need a network import this module at the top; others use
`lamina.models.lazy_keras`, or import it inside functions.
"""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from lamina.prefetch import LOADING
from lamina.quiet_stderr import quiet_stderr

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Keras and TensorFlow import these where they are installed, and no network needs them: 40 % of the time of the import
_OPTIONAL: Final = ("IPython", "jax", "matplotlib", "pydot", "sklearn")


@contextmanager
def _hidden() -> Iterator[None]:
    """Let imports of the optional packages fail that nobody has imported yet.

    Only in the main thread: while another one imports Keras, the main thread may need these packages.
    """
    in_main = threading.current_thread() is threading.main_thread()
    names = [name for name in _OPTIONAL if name not in sys.modules] if in_main else []
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del modules[name]


@contextmanager
def _loading() -> Iterator[None]:
    """Import without garbage collection, which would scan the new modules again and again (a fifth of the time)."""
    gc.disable()
    try:
        with LOADING, _hidden(), quiet_stderr(python=False):
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
