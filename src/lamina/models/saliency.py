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
from lamina.models.averaging import members_of
from lamina.models.inference import as_tf_function, tensor_batches
from lamina.models.keras_runtime import keras, tf
from lamina.models.layers import leaves
from lamina.models.occlusion import Occlusion
from lamina.models.onnx_layer import OnnxFeatures
from lamina.models.views import single_view


class Saliency:
    """A saved classifier, or an ensemble of some, each divided at its last feature maps.

    Args:
        model: from (n, S, S, 3) RGB values 0..255 to (n, classes) probabilities, of any architecture whose last layer
            has an activation.

    Raises:
        UserError: if the model, or a member of the ensemble, has no feature map.
    """

    method = "HiResCAM"

    def __init__(self, model: Any) -> None:
        singles = [single_view(member) for member in members_of(model)]
        self._divided = [_Divided(single) for single in singles]
        self._answers = self._divided[0].predict if singles[0] is model else as_tf_function(model)

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """Predict pictures.

        Args:
            pixels: (n, S, S, 3) RGB 0..255.

        Returns:
            (n, classes) probabilities.
        """
        return np.concatenate([tf.nest.flatten(self._answers(batch))[-1].numpy() for batch in tensor_batches(pixels)])

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
        found = [divided.shares(pixels, classes) for divided in self._divided]
        coarsest = min((shares.shape[2:] for shares in found), key=tuple)
        return np.asarray(np.mean([_at(shares, coarsest) for shares in found], axis=0), np.float32)


class _Divided:
    """A classifier of one view, divided at its last feature maps."""

    def __init__(self, single: Any) -> None:
        inputs, outputs = single.input, {}

        def call(layer: Any, *arguments: Any, **named: Any) -> Any:
            output = outputs[layer] = layer(*arguments, **named)
            return output

        # outputs inside a nested network are not part of the outer graph; those of a new call are
        rebuilt = keras.models.clone_model(single, input_tensors=inputs, clone_function=_same, call_function=call)
        flat = [keras.tree.flatten(output) for output in outputs.values()]
        maps = [tensors for tensors in flat if len(tensors[0].shape) == 4]
        if not maps:
            raise UserError(f"{single.name}: no layer of this network gives a feature map; it has no saliency")
        # one function for both: tracing a deep network takes longer than predicting some hundred pictures
        self.predict = as_tf_function(keras.Model(rebuilt.input, [*maps[-1], rebuilt.output]))
        self._tail = keras.Model(maps[-1], rebuilt.output)

    def shares(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Compute the shares of each place; see `Saliency.shares`."""
        maps = [tensors for batch in tensor_batches(pixels) for tensors in zip(*self.predict(batch)[:-1], strict=True)]
        with _logits(self._tail):
            shares = [
                [_shares(self._tail, [tensor[None] for tensor in tensors], int(number)) for number in row]
                for tensors, row in zip(maps, classes, strict=True)
            ]
        return np.array(shares, np.float32)


def explainer(model: Any) -> Saliency | Occlusion:
    """Return what shows the places that support a class: HiResCAM, or occlusion where the backbone has no gradient."""
    return Occlusion(model) if any(isinstance(layer, OnnxFeatures) for layer in leaves(model)) else Saliency(model)


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


def _same(layer: Any) -> Any:
    return layer
