"""Settings of single layers: which of them are trainable, and the precision they compute in."""

import math
from collections.abc import Iterator
from types import MethodType
from typing import Any, Final

from lamina.errors import UserError
from lamina.models import lazy_keras as keras
from lamina.models.backbones import BACKBONE_LAYER, Precision

_FLOAT: Final = 4  # bytes of a float32

_POLICIES: Final = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def compute_in(network: Any, precision: Precision) -> None:
    """Set the precision in which a network's layers compute, in place.

    Weights, and the last layer with its softmax, stay float32.

    Args:
        network: a functional Keras model.
        precision: float32 or bfloat16.

    Source:
        Keras' guide to mixed precision.
    """
    last = network.output._keras_history.operation
    for layer in leaves(network):
        if layer is not last:
            layer.dtype_policy = _POLICIES[precision]


def unfreeze(network: Any, layers: int) -> None:
    """Make the last layers of the backbone in a model trainable, in place; its other layers are frozen.

    Batch normalization is not counted and stays frozen, in inference mode, even while the other layers train.

    Args:
        network: a Keras model with a backbone.
        layers: number of layers with weights, such as convolutions, counted from the end of Keras' order.

    Raises:
        UserError: if the backbone has fewer layers.

    Source:
        Keras' guide to transfer learning and fine-tuning.
    """
    backbone = network.get_layer(BACKBONE_LAYER)
    if not isinstance(backbone, keras.Model):
        raise UserError("fine_tune: a backbone from an ONNX file cannot learn; leave fine_tune out")
    backbone.trainable = True
    norm = keras.layers.BatchNormalization
    trainable = [layer for layer in leaves(backbone) if layer.trainable_weights and not isinstance(layer, norm)]
    if layers > len(trainable):
        raise UserError(
            f"fine_tune.layers: this backbone has {len(trainable)} layers that learn, got {layers}; lower it"
        )
    for layer in leaves(backbone):
        layer.trainable = layer in trainable[-layers:]


def freeze_norms(network: Any) -> None:
    """Freeze the batch normalizations of a network, in place: they keep their statistics, even while it trains."""
    for layer in leaves(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def accept_any_size(network: Any) -> None:
    """Let a network take pictures of any side in training, in place. A saved model does not know of it."""
    for model in (network, *(layer for layer in network.layers if isinstance(layer, keras.Model))):
        model.input_spec = keras.InputSpec(shape=(None, None, None, model.input.shape[-1]))


def fuse_norms(network: Any) -> None:
    """Let the batch normalizations of a network train with TensorFlow's fused operation, in place.

    Keras computes them from single operations, which takes a third of a training step of EfficientNet-Lite0. Values and
    statistics are the same up to rounding. A saved model does not know of it.
    """
    for layer in leaves(network):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        if is_norm and layer.axis in (-1, 3) and layer.scale and layer.center and len(layer.input.shape) == 4:
            layer.call = MethodType(_call_fused, layer)


def _call_fused(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """The method `call` of a batch normalization."""
    from lamina.models.keras_runtime import tf

    if not (training and layer.trainable):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=layer.gamma, offset=layer.beta, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )
    count = tf.cast(tf.size(inputs) / inputs.shape[-1], variance.dtype)
    moved = ((layer.moving_mean, mean), (layer.moving_variance, variance * (count - 1) / count))  # not Bessel's
    for average, new in moved:
        average.assign(average * layer.momentum + new * (1 - layer.momentum))
    return outputs


def bytes_per_picture(network: Any) -> int:
    """Estimate the memory of a training step for each picture, at most: the outputs of all layers, twice.

    The second part is for gradients and intermediate results. Measured share of this estimate on CPU: a small CNN 0.85,
    VGG16 0.54, MobileNetV2 0.49.
    """
    outputs = [output for layer in leaves(network) for output in keras.tree.flatten(layer.output)]
    return sum(2 * _FLOAT * math.prod(output.shape[1:]) for output in outputs)


def leaves(network: Any) -> Iterator[Any]:
    """All layers, in order; a nested network is replaced by its layers."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        elif isinstance(layer, keras.layers.Layer):
            yield layer
