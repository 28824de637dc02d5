"""Saliency with HiResCAM: how much each place of the last feature maps adds to the logit of a class.

If only average pooling and one linear layer follow the maps, this equals the class activation map of Zhou et al. (2016)
and, except for a factor, Grad-CAM (Selvaraju et al. 2017). If more layers follow, Grad-CAM averages the gradients over
the map first and can show places that the network did not use; HiResCAM does not.

Source: Draelos and Carin 2020, arXiv:2011.08891.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lamina.errors import UserError
from lamina.models.divided import Divided, OneView
from lamina.models.inference import tensor_batches
from lamina.models.keras_runtime import keras, tf
from lamina.models.layers import leaves
from lamina.models.occlusion import Occlusion
from lamina.models.onnx_layer import OnnxFeatures


class Saliency:
    """Explains a classifier, or an ensemble of some, each divided at its last feature maps.

    Args:
        divided: of any architecture whose last layer has an activation.

    Raises:
        UserError: if the model, or a member of the ensemble, has no feature map.
    """

    method = "HiResCAM"

    def __init__(self, divided: Divided) -> None:
        for member in divided.members:
            if member.tail is None:
                name = member.network.name
                raise UserError(f"{name}: no layer of this network gives a feature map; it has no saliency")
        self._members = divided.members

    def shares(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Compute how much each place of the last feature maps adds to the logits of some classes.

        Args:
            pixels: (n, S, S, 3) RGB 0..255.
            classes: (n, k) class numbers; row i is for picture i.

        Returns:
            (n, k, height, width) float32, in logits, of the picture as it is, without other views: positive values
            support the class, negative ones oppose it. The result of a picture depends on it alone. Of an ensemble, the
            mean of its members, at the resolution of the coarsest.
        """
        found = [_shares_of(member, pixels, classes) for member in self._members]
        coarsest = min((shares.shape[2:] for shares in found), key=tuple)
        return np.asarray(np.mean([_at(shares, coarsest) for shares in found], axis=0), np.float32)


def explainer(divided: Divided) -> Saliency | Occlusion:
    """Return what shows the places that support a class: HiResCAM, or occlusion where the backbone has no gradient."""
    has_gradient = not any(isinstance(layer, OnnxFeatures) for layer in leaves(divided.model))
    return Saliency(divided) if has_gradient else Occlusion(divided.outputs)


def _shares_of(member: OneView, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Shares of each place, of one network; see `Saliency.shares`."""
    maps = [tensors for batch in tensor_batches(pixels) for tensors in zip(*member(batch)[2:], strict=True)]
    with _logits(member.tail):
        shares = [
            [_shares(member.tail, [tensor[None] for tensor in tensors], int(number)) for number in row]
            for tensors, row in zip(maps, classes, strict=True)
        ]
    return np.array(shares, np.float32)


def _shares(tail: Any, maps: list[Any], class_number: int) -> np.ndarray:
    """Shares of one picture; those of several maps are summed, at the resolution of the coarsest map."""
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logit = tail(maps, training=False)[0, class_number]
    coarsest = min((features.shape[1:3] for features in maps), key=tuple)
    shares = [
        _resized(tf.reduce_sum(gradient * features, axis=-1, keepdims=True), coarsest)
        for features, gradient in zip(maps, tape.gradient(logit, maps), strict=True)
    ]
    return np.asarray(tf.add_n(shares)[0, ..., 0])


def _resized(shares: Any, size: tuple[int, int]) -> Any:
    """Shares, (n, height, width, channels), at a coarser resolution; their sum stays."""
    height, width = shares.shape[1:3]
    return tf.image.resize(shares, size, method="area") * (height * width / (size[0] * size[1]))


def _at(shares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shares, (n, k, height, width), at a coarser resolution."""
    if shares.shape[2:] == size:
        return shares
    return np.moveaxis(_resized(np.moveaxis(shares, 1, -1), size).numpy(), -1, 1)


@contextmanager
def _logits(model: Any) -> Iterator[None]:
    """Make a classifier return logits: probabilities near 0 and 1 have almost no gradient."""
    last = model.layers[-1]
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    activation, last.activation = last.activation, keras.activations.linear
    try:
        yield
    finally:
        last.activation = activation
