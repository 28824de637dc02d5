"""Networks that answer with some numbers: the head for frozen features, and complete networks from pixels or words."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from lamina.models import lazy_keras as keras
from lamina.models.backbones import RANDOM, backbone, from_pixels, load_trunk

HEAD_UNITS: Final = 256
WORDS_UNITS: Final = (16, 16)  # of a dense network over words


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The last layer of a network: its number of units, their activation, and its name."""

    units: int
    activation: Literal["softmax", "sigmoid", "linear"]
    name: str


def class_outputs(classes: int) -> Outputs:
    """Return the last layer of a classifier: probabilities of so many classes."""
    return Outputs(units=classes, activation="softmax", name="classes")


def build_head(width: int, outputs: Outputs | int, *, dropout: float, mean: Any, variance: Any, seed: int) -> Any:
    """Build Dense(256, ReLU) - Dropout - outputs on standardized features.

    Args:
        width: number of features of a picture.
        outputs: the last layer, or the number of classes of a classifier.
        dropout: rate, 0 to 1.
        mean: (width,) mean of the training features.
        variance: (width,) variance of the training features. With it, the same learning rate suits backbones whose
            features differ by orders of magnitude.
        seed: of the weights and dropout.

    Returns:
        A Keras model from (n, width) to (n, units).
    """
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    features = keras.Input((width,), name="features")
    x = layers.Normalization(mean=mean, variance=variance, name="standardise")(features)
    x = layers.Dense(HEAD_UNITS, activation="relu", name="hidden")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return keras.Model(features, _last(outputs)(x), name="head")


def join(extractor: Any, head: Any) -> Any:
    """Join an extractor and a head into one model from pixels to the head's outputs."""
    return keras.Model(extractor.input, head(extractor.output), name="classifier")


def build_network(
    name: str, size: int, outputs: Outputs | int, *, weights: str = RANDOM, dropout: float, seed: int
) -> Any:
    """Build a complete network of the zoo, all trainable.

    The backbone's feature maps are averaged, or flattened for backbones with own dense layers, which follow; then
    Dropout - outputs.

    Args:
        name: of a backbone.
        size: side of the pictures in pixels.
        outputs: the last layer, or the number of classes of a classifier.
        weights: what the backbone starts from (`lamina.models.backbones.build_extractor`).
        dropout: rate, 0 to 1.
        seed: of random weights and dropout.

    Returns:
        A Keras model from (n, size, size, 3) RGB values 0..255 to (n, units).

    Raises:
        UserError: if the size is below the backbone's smallest.
    """
    layers, spec = keras.layers, backbone(name)
    trunk = load_trunk(name, weights=weights, size=size, seed=seed)
    pixels, x = from_pixels(trunk, name, "native", size, frozen=False)
    x = (layers.Flatten if spec.hidden else layers.GlobalAveragePooling2D)(name="pool")(x)
    for number, units in enumerate(spec.hidden, start=1):
        x = layers.Dense(units, activation=spec.activation, name=f"hidden_{number}")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return keras.Model(pixels, _last(outputs)(x), name=name)


def build_words_network(width: int, outputs: Outputs, *, dropout: float, seed: int) -> Any:
    """Build Dense(16, ReLU) - Dense(16, ReLU) - Dropout - outputs over words: a Keras model from (n, width)."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    words = x = keras.Input((width,), name="words")
    for number, units in enumerate(WORDS_UNITS, start=1):
        x = layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x) if dropout else x
    return keras.Model(words, _last(outputs)(x), name="dense")


def _last(outputs: Outputs | int) -> Any:
    last = class_outputs(outputs) if isinstance(outputs, int) else outputs
    return keras.layers.Dense(last.units, activation=last.activation, name=last.name)
