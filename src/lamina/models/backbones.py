"""The zoo: convolutional networks of `keras.applications`, each with its own input convention."""

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from lamina.errors import UserError

Preprocess = Literal["own", "rescale"]
Pooling = Literal["avg", "flatten"]

BACKBONE_LAYER: Final = "backbone"  # the name under which every saved model holds its backbone

CONVENTION_LAYER: Final = "input_convention"


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One network of `keras.applications`.

    module, builder: where Keras keeps it; width: channels of its last feature map; smallest: side in
    pixels of the smallest picture it takes.
    """

    module: str
    builder: str
    width: int
    smallest: int = 32


BACKBONES: Final[Mapping[str, Backbone]] = MappingProxyType(
    {
        "densenet121": Backbone(module="densenet", builder="DenseNet121", width=1024),
        "densenet169": Backbone(module="densenet", builder="DenseNet169", width=1664),
        "densenet201": Backbone(module="densenet", builder="DenseNet201", width=1920),
        "inception_v3": Backbone(module="inception_v3", builder="InceptionV3", width=2048, smallest=75),
        "mobilenet_v2": Backbone(module="mobilenet_v2", builder="MobileNetV2", width=1280),
        "resnet50": Backbone(module="resnet50", builder="ResNet50", width=2048),
        "vgg16": Backbone(module="vgg16", builder="VGG16", width=512),
        "vgg19": Backbone(module="vgg19", builder="VGG19", width=512),
        "xception": Backbone(module="xception", builder="Xception", width=2048, smallest=71),
    }
)


def backbone(name: str) -> Backbone:
    """Look a backbone up by name. Raises UserError listing what there is."""
    try:
        return BACKBONES[name]
    except KeyError:
        raise UserError(f"unknown backbone {name!r}; available: {', '.join(BACKBONES)}") from None


def build_extractor(name: str, *, weights: str, pooling: Pooling, preprocess: Preprocess, size: int, seed: int) -> Any:
    """Build the frozen network that turns pixels into features.

    weights: `imagenet`, `none` (random, drawn from the seed), or the path of a `.keras` model or a
    `.weights.h5` file that another run wrote. preprocess: the backbone's own input convention, or
    pixels / 255 for all. Returns a Keras model from (n, size, size, 3) RGB values 0..255 to (n, width)
    features. Raises UserError for a size below the network's smallest and for weights that are not there
    or do not fit.
    """
    spec = backbone(name)
    if size < spec.smallest:
        raise UserError(f"{name} takes pictures of at least {spec.smallest} pixels; convert.size is {size}")
    from lamina.models.keras_runtime import keras

    keras.utils.set_random_seed(seed)
    network = _build(spec, weights, size)
    network.name = BACKBONE_LAYER
    network.trainable = False
    if weights not in ("none", "imagenet"):
        _load_weights(network, Path(weights))
    pixels = keras.Input((size, size, 3), name="rgb")
    convention = keras.Model(pixels, _preprocessed(keras, spec, preprocess, pixels), name=CONVENTION_LAYER)
    features = network(convention(pixels), training=False)
    pool = keras.layers.GlobalAveragePooling2D if pooling == "avg" else keras.layers.Flatten
    return keras.Model(pixels, pool(name="pool")(features), name="extractor")


def calibrate(extractor: Any, pixels: Any) -> None:
    """Set the statistics of a random backbone's batch normalisations from pictures, in place.

    extractor: what `build_extractor` made with `weights: none`; pixels: (n, size, size, 3), some training
    pictures. Untouched, these statistics say mean 0 and variance 1, and the features of a deep random
    network fade below what float16 can tell from zero.
    """
    from lamina.models.keras_runtime import keras

    network = extractor.get_layer(BACKBONE_LAYER)
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.trainable, layer.momentum = True, 0.0
    network(extractor.get_layer(CONVENTION_LAYER)(pixels), training=True)
    for layer, momentum in zip(layers, before, strict=True):
        layer.trainable, layer.momentum = False, momentum


def _module(spec: Backbone) -> Any:
    return importlib.import_module(f"keras.applications.{spec.module}")


def _build(spec: Backbone, weights: str, size: int) -> Any:
    builder = getattr(_module(spec), spec.builder)
    try:
        return builder(
            include_top=False, weights="imagenet" if weights == "imagenet" else None, input_shape=(size, size, 3)
        )
    except Exception as error:
        if weights != "imagenet":
            raise
        raise UserError(_missing_weights(spec, error)) from None


def _missing_weights(spec: Backbone, error: Exception) -> str:
    """One line for a failed download: Keras says the address, whose last part is the file's name."""
    address = re.search(r"https?://\S+/([^\s/]+\.h5)", str(error))
    file = address.group(1) if address else f"the file of ImageNet weights for {spec.builder} without top"
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
    return (
        f"weights: imagenet: {file} is not in {folder} and could not be downloaded; put it there, "
        f"or set weights to none or to the path of a model that another run wrote"
    )


def _load_weights(network: Any, path: Path) -> None:
    """Fill a backbone from a `.weights.h5` file, or from the backbone inside a saved `.keras` model."""
    from lamina.models.keras_runtime import keras

    if not path.is_file():
        raise UserError(f"weights: {path} is not a file; expected imagenet, none, or a .keras or .weights.h5 file")
    try:
        if path.suffix == ".keras":
            saved = keras.saving.load_model(path, compile=False, safe_mode=True)
            network.set_weights(saved.get_layer(BACKBONE_LAYER).get_weights())
        else:
            network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"weights: {path} does not fit this backbone: {str(error).splitlines()[0]}") from None


def _preprocessed(keras: Any, spec: Backbone, preprocess: Preprocess, pixels: Any) -> Any:
    if preprocess == "rescale":
        return keras.layers.Rescaling(1 / 255, name="rescale")(pixels)
    return _module(spec).preprocess_input(pixels)
