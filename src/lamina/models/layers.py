"""What is set layer by layer: which of them learn, and what they compute in."""

import math
from collections.abc import Iterator
from typing import Any, Final

from lamina.errors import UserError
from lamina.models.backbones import BACKBONE_LAYER, Precision

_FLOAT: Final = 4  # bytes

_POLICIES: Final = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def compute_in(network: Any, precision: Precision) -> None:
    """Set what a network's layers compute in, in place; weights, and the last layer with its softmax, stay float32.

    network: a functional Keras model. Source: Keras' guide to mixed precision.
    """
    last = network.output._keras_history.operation
    for layer in _leaves(network):
        if layer is not last:
            layer.dtype_policy = _POLICIES[precision]


def unfreeze(network: Any, layers: int) -> None:
    """Let the last layers of the backbone inside a model learn, in place, and no other of the backbone.

    layers: how many, counted from the end of Keras' order; counted are those that learn, convolutions and the like.
    Batch normalisations neither count nor learn: frozen, they stay in inference mode even while the rest trains.
    Raises UserError where there are fewer. Source: Keras' guide to transfer learning and fine-tuning.
    """
    backbone = network.get_layer(BACKBONE_LAYER)
    backbone.trainable = True
    learning = [layer for layer in _leaves(backbone) if _learns(layer)]
    if layers > len(learning):
        raise UserError(
            f"fine_tune.layers: this backbone has {len(learning)} layers that learn, got {layers}; lower it"
        )
    for layer in _leaves(backbone):
        layer.trainable = layer in learning[-layers:]


def bytes_per_picture(network: Any) -> int:
    """What a training step holds of each picture, at most: what every layer put out, and as much again.

    The second part is for gradients and what a layer computes on its way. Measured on CPU beside that: a small network
    of convolutions and pooling 0.85 of it, VGG16 0.54, MobileNetV2 0.49.
    """
    from lamina.models.keras_runtime import keras

    outputs = [output for layer in _leaves(network) for output in keras.tree.flatten(layer.output)]
    return sum(2 * _FLOAT * math.prod(output.shape[1:]) for output in outputs)


def _learns(layer: Any) -> bool:
    from lamina.models.keras_runtime import keras

    return bool(layer.trainable_weights) and not isinstance(layer, keras.layers.BatchNormalization)


def _leaves(network: Any) -> Iterator[Any]:
    """All layers, in order; in place of a network within the network its layers."""
    from lamina.models.keras_runtime import keras

    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif isinstance(layer, keras.layers.Layer):
            yield layer
