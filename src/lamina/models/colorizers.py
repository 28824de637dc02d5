"""Colorizers: networks from lightness to color, with a backbone as encoder and a decoder of our own."""

import math
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lamina.models import lazy_keras as keras
from lamina.models.backbones import RANDOM, Convention, convention, load_trunk
from lamina.models.chroma import SPREAD
from lamina.models.scales import with_scales
from lamina.models.weights import load_weights

Decoder = Literal["dense", "conv", "unet"]
Loss = Literal["mse", "rebalanced"]

Initialize = Literal["encoder", "whole"]

NETWORK_LAYER: Final = "colors"  # name of the trainable network in every saved colorizer
TEMPERATURE: Final = 0.38  # of the annealed mean (Zhang et al. 2016, section 2.3)
_SIDE: Final = {"mse": 64, "rebalanced": 32}  # about the side of predicted colors, for larger pictures
_LAST_FILTERS: Final = 16  # filters at that side; twice as many at half of it, and so on
_MOST_FILTERS: Final = 256
_LARGEST: Final = 0.3  # root mean square of the first outputs in units of `SPREAD`: about that of pictures
_SAME_KIND: Final = "one with this backbone, decoder and loss, for pictures about as large; or set initialize: encoder"
_UNITS: Final = 256  # of the dense decoder's hidden layer, as in a classifier's head


def predicted_side(size: int, loss: Loss) -> int:
    """Return the side of the color maps that a network predicts: the size divided by an integer, rounded up.

    Eyes and pictures resolve color less finely than lightness; Zhang et al. 2016 predict a quarter of 256.

    Args:
        size: side of the pictures in pixels.
        loss: `mse` or `rebalanced`.
    """
    return math.ceil(size / max(1, size // _SIDE[loss]))


def build_colorizer(
    backbone: str,
    *,
    weights: str,
    initialize: Initialize = "encoder",
    preprocess: Convention,
    decoder: Decoder,
    side: int,
    outputs: int,
    size: int,
    dropout: float,
    seed: int,
    frozen: bool,
) -> Any:
    """Build the trainable network, from L to numbers that `build_tail` converts to colors.

    Args:
        backbone: name of the encoder.
        weights: see `lamina.models.backbones.build_extractor`.
        initialize: `encoder`: the weights are those of the encoder; `whole`: of a colorizer of the same kind, with its
            decoder. Its pictures must have about the same size: the decoder has one step less if colors are predicted
            at half of the pictures' side.
        preprocess: see `lamina.models.backbones.build_extractor`.
        decoder: `dense`, `conv`, or `unet`.
        side: see `predicted_side`.
        outputs: 2 (a and b in units of `SPREAD`), or the number of bins, for logits.
        size: side of the pictures in pixels.
        dropout: rate, 0 to 1, on the encoder's last maps (`dense`: on the hidden layer).
        seed: of random weights and dropout.
        frozen: whether the encoder is not trainable.

    Returns:
        A Keras model from (n, size, size, 1) L in 0..100 to (n, side, side, outputs).

    Raises:
        UserError: see `lamina.models.backbones.build_extractor`.
    """
    trunk = load_trunk(backbone, weights=RANDOM if initialize == "whole" else weights, size=size, seed=seed)
    lightness = keras.Input((size, size, 1), name="lightness")
    prepared = convention(backbone, preprocess, size)(grey(lightness))
    colors = encode_and_decode(trunk, prepared, decoder, side, outputs, dropout, seed, frozen=frozen)
    network = keras.Model(lightness, colors, name=NETWORK_LAYER)
    if initialize == "whole":
        load_weights(network, Path(weights), layer=NETWORK_LAYER, like=_SAME_KIND)
    return network


def encode_and_decode(
    trunk: Any, prepared: Any, decoder: Decoder, side: int, outputs: int, dropout: float, seed: int, *, frozen: bool
) -> Any:
    """Apply an encoder and a decoder.

    Args:
        trunk: the encoder, a Keras model.
        prepared: (n, S, S, 3), follows the encoder's input convention.
        decoder: see `build_colorizer`, also for the others.
        side: see there.
        outputs: see there.
        dropout: see there.
        seed: see there.
        frozen: see there.

    Returns:
        A Keras tensor, (n, side, side, outputs).
    """
    encoder = with_scales(trunk, prepared.shape[1]) if decoder == "unet" else trunk
    encoder.trainable = not frozen
    # frozen batch normalization stays in inference mode while the rest trains
    *skips, maps = keras.tree.flatten(encoder(prepared, training=False) if frozen else encoder(prepared))
    if decoder == "dense":
        return _dense(maps, side, outputs, dropout, seed)
    return _upsampling(maps, skips, side, outputs, dropout, seed)


def scale_initial_outputs(network: Any, inputs: np.ndarray) -> None:
    """Scale the last layer of a network with random weights, in place, so that its first outputs are plausible.

    Too large outputs make the first steps too large, and a residual network needs epochs to recover: resnet20 started
        with
    an MSE of 28,000 on CIFAR-10. Networks with smaller outputs do not change.

    Args:
        network: a Keras model.
        inputs: some training inputs.

    Source:
        Kraehenbuehl et al. 2016, Data-dependent Initializations of Convolutional Neural Networks, section 3.1.
    """
    # the next call changes the statistics of batch normalization
    state = [variable.numpy() for variable in network.non_trainable_variables]
    rms = float(np.sqrt(np.mean(np.square(network(inputs, training=True)))))
    for variable, before in zip(network.non_trainable_variables, state, strict=True):
        variable.assign(before)
    if rms > _LARGEST:
        last = next(layer for layer in reversed(network.layers) if layer.weights)
        kernel, *rest = last.get_weights()
        last.set_weights([kernel * (_LARGEST / rms), *rest])


def build_tail(side: int, size: int, bins: np.ndarray | None) -> Any:
    """Build the model that converts a network's numbers to colors; it has no trainable weights.

    Args:
        side: see `predicted_side`.
        size: side of the pictures in pixels; maps are resized bilinearly, as in Zhang et al. 2016.
        bins: (outputs, 2) a and b of each bin, whose logits give the annealed mean. None if the numbers are a and b in
            units of `SPREAD`.

    Returns:
        A Keras model from (n, side, side, outputs) to (n, size, size, 2) a and b in CIELAB units.
    """
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
    """Build the model that is saved: from lightness to colors.

    Args:
        network: see `build_colorizer`.
        tail: see `build_tail`.
        flip_tta: whether to average the colors with those of the mirrored picture (test-time augmentation). This
            removes part of the error (Krizhevsky et al. 2012, section 4.1, for classes) and takes twice the time.

    Returns:
        A Keras model from (n, S, S, 1) L in 0..100 to (n, S, S, 2) a and b in CIELAB units.
    """
    lightness = keras.Input(network.input.shape[1:], name="lightness")
    colors = tail(network(lightness))
    if flip_tta:
        flipped = keras.ops.flip(tail(network(keras.ops.flip(lightness, axis=2))), axis=2)
        colors = keras.layers.Average(name="flip_tta")([colors, flipped])
    return keras.Model(lightness, colors, name="colorizer")


def grey(lightness: Any) -> Any:
    """Convert L to grey RGB values, as encoders expect.

    Args:
        lightness: (n, S, S, 1) L in 0..100.

    Returns:
        (n, S, S, 3) RGB values 0..255.

    Source:
        CIE 15:2004 (L to luminance), IEC 61966-2-1 (luminance to sRGB).
    """
    ops = keras.ops
    root = (lightness + 16.0) / 116.0
    light = ops.maximum(ops.where(root > 6 / 29, root * root * root, 3 * (6 / 29) ** 2 * (root - 4 / 29)), 0.0)
    dark = light * 12.92
    bright = 1.055 * ops.power(ops.maximum(light, 0.0031308), 1 / 2.4) - 0.055
    return ops.repeat(ops.where(light > 0.0031308, bright, dark) * 255.0, 3, axis=-1)


def _upsampling(maps: Any, skips: list[Any], side: int, outputs: int, dropout: float, seed: int) -> Any:
    """Double the side in steps, each with a 3x3 convolution; maps of the encoder of that scale are concatenated."""
    layers = keras.layers
    x = layers.SpatialDropout2D(dropout, seed=seed, name="dropout")(maps) if dropout else maps
    for step, scale in enumerate(_sides(maps.shape[1], side)):
        x = brought_to(x, scale)
        same_scale = [skip for skip in skips if 0.75 < skip.shape[1] / scale < 1.25]
        if same_scale:
            x = layers.Concatenate(name=f"up{step}_beside")([x, *(brought_to(skip, scale) for skip in same_scale[-1:])])
        filters = min(_MOST_FILTERS, _LAST_FILTERS * round(side / scale))
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"up{step}_conv"
        )(x)
    return layers.Conv2D(outputs, 1, name="predicted")(x)


def _sides(start: int, end: int) -> list[int]:
    """Sides of the steps from `start` (excluded) up to `end`, doubling; `end` alone if it is not above `start`."""
    sides = [end]
    while math.ceil(sides[0] / 2) > start:
        sides.insert(0, math.ceil(sides[0] / 2))
    return sides


def brought_to(maps: Any, side: int) -> Any:
    """Resize maps, (n, s, s, c), to another side, bilinearly."""
    if maps.shape[1] == side:
        return maps
    return keras.ops.image.resize(maps, (side, side), interpolation="bilinear")


def _dense(maps: Any, side: int, outputs: int, dropout: float, seed: int) -> Any:
    layers = keras.layers
    x = layers.Dense(_UNITS, activation="relu", name="hidden")(layers.Flatten(name="flat")(maps))
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return layers.Reshape((side, side, outputs), name="predicted")(
        layers.Dense(side * side * outputs, name="square")(x)
    )
