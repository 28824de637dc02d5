"""Networks of our own: the head that sits on a backbone's features, and small ones learned from scratch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from lamina.errors import UserError

HEAD_UNITS: Final = 256


def build_head(width: int, classes: int, *, dropout: float, mean: Any, variance: Any, seed: int) -> Any:
    """Build Dense(256, ReLU) - Dropout - Dense(classes, softmax) over standardised features.

    width: features per picture; mean, variance: (width,) of the training features, so that backbones
    whose features differ by orders of magnitude learn alike at the same rate.
    Returns a Keras model from (n, width) to (n, classes) probabilities.
    """
    from lamina.models.keras_runtime import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    features = keras.Input((width,), name="features")
    x = layers.Normalization(mean=mean, variance=variance, name="standardise")(features)
    x = layers.Dense(HEAD_UNITS, activation="relu", name="hidden")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return keras.Model(features, layers.Dense(classes, activation="softmax", name="classes")(x), name="head")


def join(extractor: Any, head: Any) -> Any:
    """One model from pixels to probabilities: what `extractor` makes, judged by `head`."""
    from lamina.models.keras_runtime import keras

    return keras.Model(extractor.input, head(extractor.output), name="classifier")


def small_cnn(size: int, classes: int, *, dropout: float, seed: int) -> Any:
    """Build a small network for pictures, learned from scratch.

    Four blocks of 3x3 convolution (16, 32, 64, 128 filters), ReLU and 2x2 max-pooling, then
    Dense(256, ReLU) - Dropout - Dense(classes, softmax).
    Returns a Keras model from (n, size, size, 3) RGB values 0..255 to (n, classes) probabilities.
    """
    from lamina.models.keras_runtime import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    pixels = keras.Input((size, size, 3), name="rgb")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(pixels)
    for filters in (16, 32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Dense(256, activation="relu", name="hidden")(layers.Flatten()(x))
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return keras.Model(pixels, layers.Dense(classes, activation="softmax", name="classes")(x), name="small_cnn")


NETWORKS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType({"small_cnn": small_cnn})


def network(name: str) -> Callable[..., Any]:
    """Look a network's builder up by name. Raises UserError listing what there is."""
    try:
        return NETWORKS[name]
    except KeyError:
        raise UserError(f"unknown network {name!r}; available: {', '.join(NETWORKS)}") from None
