"""Networks that give lightness its colors: an encoder of the zoo, fed a grey picture, and a decoder of our own."""

import math
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lamina.models.backbones import RANDOM, Convention, convention, load_trunk
from lamina.models.chroma import SPREAD
from lamina.models.scales import with_scales
from lamina.models.weights import load_weights

Decoder = Literal["dense", "conv", "unet"]
Loss = Literal["mse", "rebalanced"]

Start = Literal["encoder", "whole"]

NETWORK_LAYER: Final = "colors"  # the name under which every saved colorizer holds what learned
TEMPERATURE: Final = 0.38  # of the annealed mean (Zhang et al. 2016, section 2.3)
_SIDE: Final = {"mse": 64, "rebalanced": 32}  # about the side at which colors are predicted, where pictures are larger
_LAST: Final = 16  # filters at that side; twice as many at half of it, and so on
_MOST: Final = 256
_LOUDEST: Final = 0.3  # of first answers, root mean square, in units of `SPREAD`: about as colorful as pictures are
_ALIKE: Final = "one with this backbone, decoder and loss, for pictures about as large; or set start: encoder"
_UNITS: Final = 256  # of the dense decoder's hidden layer, as of a classifier's head


def predicted_side(size: int, loss: Loss) -> int:
    """The side at which colors are predicted for pictures of a side: a whole fraction of it, rounded up.

    Eyes and pictures hold color more coarsely than light; Zhang et al. 2016 predict a quarter of 256.
    """
    return math.ceil(size / max(1, size // _SIDE[loss]))


def build_colorizer(
    backbone: str,
    *,
    weights: str,
    start: Start = "encoder",
    preprocess: Convention,
    decoder: Decoder,
    side: int,
    outputs: int,
    size: int,
    dropout: float,
    seed: int,
    frozen: bool,
) -> Any:
    """Build what learns: from (n, size, size, 1) L in 0..100 to (n, side, side, outputs) numbers, not yet colors.

    backbone, weights, preprocess: as of `lamina.models.backbones.build_extractor`; frozen: whether the encoder stays as
    it is. start: whether the weights are those of the encoder alone, or a colorizer's like this one, decoder and all:
    for pictures about as large, since the decoder has a step less where colors are predicted at half of their side.
    outputs: 2 (a and b in units of `SPREAD`), or one logit per bin. dropout: share of the encoder's last maps
    (of the hidden layer of `dense`) that rest in each step. What comes of it is made colors by `build_tail`.
    """
    from lamina.models.keras_runtime import keras

    trunk = load_trunk(backbone, weights=RANDOM if start == "whole" else weights, size=size, seed=seed)
    lightness = keras.Input((size, size, 1), name="lightness")
    prepared = convention(backbone, preprocess, size)(grey(lightness))
    colors = encode_and_decode(trunk, prepared, decoder, side, outputs, dropout, seed, frozen=frozen)
    network = keras.Model(lightness, colors, name=NETWORK_LAYER)
    if start == "whole":
        load_weights(network, Path(weights), layer=NETWORK_LAYER, like=_ALIKE)
    return network


def encode_and_decode(
    trunk: Any, prepared: Any, decoder: Decoder, side: int, outputs: int, dropout: float, seed: int, *, frozen: bool
) -> Any:
    """What an encoder and a decoder make of `prepared`, (n, S, S, 3), which follows the encoder's convention.

    trunk: the encoder; see `build_colorizer` for the rest. Returns a Keras tensor, (n, side, side, outputs).
    """
    from lamina.models.keras_runtime import keras

    encoder = with_scales(trunk, prepared.shape[1]) if decoder == "unet" else trunk
    encoder.trainable = not frozen
    # a batch normalisation that is frozen keeps its statistics even while the rest trains
    *seen, maps = keras.tree.flatten(encoder(prepared, training=False) if frozen else encoder(prepared))
    if decoder == "dense":
        return _dense(maps, side, outputs, dropout, seed)
    return _upsampling(maps, seen, side, outputs, dropout, seed)


def scale_initial_outputs(network: Any, inputs: np.ndarray) -> None:
    """Make the first answers of a network with random weights no more than plausible, by its last layer, in place.

    inputs: some that it will learn from. What is far too large makes the first steps so, after which a residual network
    needs epochs to come back: resnet20 began at an MSE of 28,000 on CIFAR-10. Plain networks are left as they are.
    Source: Kraehenbuehl et al. 2016, Data-dependent Initializations of Convolutional Neural Networks, section 3.1.
    """
    state = [variable.numpy() for variable in network.non_trainable_variables]  # of normalisations, which look as well
    loud = float(np.sqrt(np.mean(np.square(network(inputs, training=True)))))
    for variable, before in zip(network.non_trainable_variables, state, strict=True):
        variable.assign(before)
    if loud > _LOUDEST:
        last = next(layer for layer in reversed(network.layers) if layer.weights)
        kernel, *rest = last.get_weights()
        last.set_weights([kernel * (_LOUDEST / loud), *rest])


def build_tail(side: int, size: int, bins: np.ndarray | None) -> Any:
    """What makes colors of a network's numbers: from (n, side, side, outputs) to (n, size, size, 2) a, b.

    Colors are in CIELAB units. bins: (outputs, 2) a, b of each, of which logits give the annealed mean; None where the
    numbers are a and b in units of `SPREAD`. Brought to size bilinearly, as in Zhang et al. 2016. Nothing in it learns.
    """
    from lamina.models.keras_runtime import keras

    layers = keras.layers
    if bins is None:
        numbers = keras.Input((side, side, 2), name="numbers")
        colors = layers.Rescaling(SPREAD, name="units")(numbers)
    else:
        numbers = keras.Input((side, side, len(bins)), name="numbers")
        sharp = layers.Softmax(name="annealed")(layers.Rescaling(1 / TEMPERATURE, name="temperature")(numbers))
        mean = layers.Dense(2, use_bias=False, trainable=False, name="bins")
        colors = mean(sharp)
        mean.set_weights([np.asarray(bins, np.float32)])
    return keras.Model(numbers, brought_to(colors, size), name="tail")


def with_tail(network: Any, tail: Any, *, flip_tta: bool = False) -> Any:
    """The model that people use: from (n, S, S, 1) L in 0..100 to (n, S, S, 2) a, b in CIELAB units.

    flip_tta: whether it answers with the mean of the colors of a picture and of its mirror image, turned back: what
    the two differ in is error, of which the mean has less (Krizhevsky et al. 2012, section 4.1, for classes).
    """
    from lamina.models.keras_runtime import keras

    lightness = keras.Input(network.input.shape[1:], name="lightness")
    colors = tail(network(lightness))
    if flip_tta:
        beside = keras.ops.flip(tail(network(keras.ops.flip(lightness, axis=2))), axis=2)
        colors = keras.layers.Average(name="flip_tta")([colors, beside])
    return keras.Model(lightness, colors, name="colorizer")


def grey(lightness: Any) -> Any:
    """From L, (n, S, S, 1) 0..100, to the RGB values 0..255 of the grey with that L, (n, S, S, 3), as encoders expect.

    Source: CIE 15:2004 (L to luminance), IEC 61966-2-1 (luminance to sRGB).
    """
    from lamina.models.keras_runtime import keras

    ops = keras.ops
    root = (lightness + 16.0) / 116.0
    light = ops.maximum(ops.where(root > 6 / 29, root * root * root, 3 * (6 / 29) ** 2 * (root - 4 / 29)), 0.0)
    dark = light * 12.92
    bright = 1.055 * ops.power(ops.maximum(light, 0.0031308), 1 / 2.4) - 0.055
    return ops.repeat(ops.where(light > 0.0031308, bright, dark) * 255.0, 3, axis=-1)


def _upsampling(maps: Any, skips: list[Any], side: int, outputs: int, dropout: float, seed: int) -> Any:
    """Twice as large step by step, each time a 3x3 convolution; what the encoder saw at that scale is laid beside."""
    from lamina.models.keras_runtime import keras

    layers = keras.layers
    x = layers.SpatialDropout2D(dropout, seed=seed, name="dropout")(maps) if dropout else maps
    for step, at in enumerate(_sides(maps.shape[1], side)):
        x = brought_to(x, at)
        beside = [skip for skip in skips if 0.75 < skip.shape[1] / at < 1.25]
        if beside:
            x = layers.Concatenate(name=f"up{step}_beside")([x, *(brought_to(skip, at) for skip in beside[-1:])])
        filters = min(_MOST, _LAST * round(side / at))
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"up{step}_conv"
        )(x)
    return layers.Conv2D(outputs, 1, name="predicted")(x)


def _sides(start: int, end: int) -> list[int]:
    """The sides on the way from `start` up to `end`, doubling; `end` alone where there is no way."""
    sides = [end]
    while math.ceil(sides[0] / 2) > start:
        sides.insert(0, math.ceil(sides[0] / 2))
    return sides


def brought_to(maps: Any, side: int) -> Any:
    """Maps, (n, s, s, c), at another side, bilinearly."""
    from lamina.models.keras_runtime import keras

    if maps.shape[1] == side:
        return maps
    return keras.ops.image.resize(maps, (side, side), interpolation="bilinear")


def _dense(maps: Any, side: int, outputs: int, dropout: float, seed: int) -> Any:
    from lamina.models.keras_runtime import keras

    layers = keras.layers
    x = layers.Dense(_UNITS, activation="relu", name="hidden")(layers.Flatten(name="flat")(maps))
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return layers.Reshape((side, side, outputs), name="predicted")(
        layers.Dense(side * side * outputs, name="square")(x)
    )
