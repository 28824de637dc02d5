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
from lamina.models.inference import as_tf_function, tensor_batches
from lamina.models.keras_runtime import keras, tf
from lamina.models.occlusion import Occlusion
from lamina.models.onnx_layer import find_onnx
from lamina.models.views import single_view


class Saliency:
    """A saved classifier, divided at its last feature maps.

    Args:
        model: from (n, S, S, 3) RGB values 0..255 to (n, classes) probabilities, of any architecture whose last layer
            has an activation.

    Raises:
        UserError: if the model has no feature map.
    """

    method = "HiResCAM"

    def __init__(self, model: Any) -> None:
        single = single_view(model)
        inputs, outputs = single.input, {}

        def call(layer: Any, *arguments: Any, **named: Any) -> Any:
            output = outputs[layer] = layer(*arguments, **named)
            return output

        # outputs inside a nested network are not part of the outer graph; those of a new call are
        rebuilt = keras.models.clone_model(single, input_tensors=inputs, clone_function=_same, call_function=call)
        flat = [keras.tree.flatten(output) for output in outputs.values()]
        maps = [tensors for tensors in flat if len(tensors[0].shape) == 4]
        if not maps:
            raise UserError(f"{model.name}: no layer of this network gives a feature map; it has no saliency")
        # one function for both: tracing a deep network takes longer than predicting some hundred pictures
        self._predict = as_tf_function(keras.Model(rebuilt.input, [*maps[-1], rebuilt.output]))
        self._answers = self._predict if single is model else as_tf_function(model)
        self._tail = keras.Model(maps[-1], rebuilt.output)

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
            support the class, negative ones oppose it. The
            result of a picture depends on it alone.
        """
        maps = [tensors for batch in tensor_batches(pixels) for tensors in zip(*self._predict(batch)[:-1], strict=True)]
        with _logits(self._tail):
            shares = [
                [_shares(self._tail, [tensor[None] for tensor in tensors], int(number)) for number in row]
                for tensors, row in zip(maps, classes, strict=True)
            ]
        return np.array(shares, np.float32)


def explainer(model: Any) -> Saliency | Occlusion:
    """Return what shows the places that support a class: HiResCAM, or occlusion where the backbone has no gradient."""
    return Occlusion(model) if find_onnx(model) else Saliency(model)


def _shares(tail: Any, maps: list[Any], class_number: int) -> np.ndarray:
    """Shares of one picture; those of several maps are summed, at the resolution of the coarsest map."""
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logit = tail(maps, training=False)[0, class_number]
    coarsest = min((features.shape[1:3] for features in maps), key=tuple)
    shares = [
        tf.image.resize(tf.reduce_sum(gradient * features, axis=-1, keepdims=True), coarsest, method="area")
        * (features.shape[1] * features.shape[2] / (coarsest[0] * coarsest[1]))
        for features, gradient in zip(maps, tape.gradient(logit, maps), strict=True)
    ]
    return np.asarray(tf.add_n(shares)[0, ..., 0])


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
