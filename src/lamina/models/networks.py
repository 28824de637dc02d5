"""What stands on backbones: the head over frozen features, and whole networks learned from scratch."""

from typing import Any, Final

from lamina.models.backbones import backbone, build_maps

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


def build_network(name: str, size: int, classes: int, *, dropout: float, seed: int) -> Any:
    """Build a whole network of the zoo with random weights, all of which learn.

    name: of a backbone, whose feature maps are averaged, or flattened and seen by the dense layers that belong to it;
    then Dropout - Dense(classes, softmax).
    Returns a Keras model from (n, size, size, 3) RGB values 0..255 to (n, classes) probabilities. Raises UserError
    for a size below the backbone's smallest.
    """
    from lamina.models.keras_runtime import keras

    layers, spec = keras.layers, backbone(name)
    pixels, x = build_maps(name, weights="none", preprocess="native", size=size, seed=seed, frozen=False)
    x = (layers.Flatten if spec.hidden else layers.GlobalAveragePooling2D)(name="pool")(x)
    for number, units in enumerate(spec.hidden, start=1):
        x = layers.Dense(units, activation=spec.activation, name=f"hidden_{number}")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return keras.Model(pixels, layers.Dense(classes, activation="softmax", name="classes")(x), name=name)
