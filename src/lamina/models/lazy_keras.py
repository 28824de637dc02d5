"""Keras, imported when a name of it is first used: so that settings can be read without the seconds of its import."""

from typing import Any


def __getattr__(name: str) -> Any:
    from lamina.models.keras_runtime import keras

    return getattr(keras, name)
