"""What a network looked at: HiResCAM, the share that each place of its last feature maps has in a class's logit.

Where all that follows the map is average pooling and one linear layer, this is the class activation map of Zhou
et al. (2016) and, but for a factor, Grad-CAM (Selvaraju et al. 2017). Where more follows, Grad-CAM averages the
gradients over the map before it uses them and may show places that the network did not use; HiResCAM does not
(Draelos and Carin 2020, arXiv:2011.08891).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lamina.errors import UserError
from lamina.models.inference import as_function, in_batches
from lamina.models.keras_runtime import keras, tf


class Saliency:
    """A saved classifier, taken apart at its last feature map.

    model: from (n, S, S, 3) RGB values 0..255 to (n, classes) probabilities, of any architecture whose last layer
    has an activation. Raises UserError where it has no feature map.
    """

    def __init__(self, model: Any) -> None:
        inputs, found = model.input, {}

        def call(layer: Any, *arguments: Any, **named: Any) -> Any:
            output = found[layer] = layer(*arguments, **named)
            return output

        # a nested network's own output is no part of the outer graph; called again, it gives one that is
        again = keras.models.clone_model(model, input_tensors=inputs, clone_function=_same, call_function=call)
        given = [keras.tree.flatten(output) for output in found.values()]
        maps = [several for several in given if len(several[0].shape) == 4]
        if not maps:
            raise UserError(f"{model.name}: no layer of this network gives a feature map; nothing can be shown of it")
        # both at once: to make a function of a deep network takes longer than to ask it about some hundred pictures
        self._ask = as_function(keras.Model(again.input, [*maps[-1], again.output]))
        self._tail = keras.Model(maps[-1], again.output)

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """What the classifier says of pictures: (n, S, S, 3) RGB 0..255 to (n, classes) probabilities."""
        return np.concatenate([self._ask(batch)[-1].numpy() for batch in in_batches(pixels)])

    def shares(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """What each place of the last feature maps adds to the logits of the classes `classes[i]`, from picture i.

        pixels: (n, S, S, 3) RGB 0..255; classes: (n, k) numbers. Returns (n, k, height, width) float32 in logits: what
        speaks for the class is positive, what speaks against it negative. A picture's result depends on it alone.
        """
        maps = [several for batch in in_batches(pixels) for several in zip(*self._ask(batch)[:-1], strict=True)]
        with _logits(self._tail):
            found = [
                [_shares(self._tail, [one[None] for one in several], int(one_class)) for one_class in which]
                for several, which in zip(maps, classes, strict=True)
            ]
        return np.array(found, np.float32)


def _shares(tail: Any, maps: list[Any], which: int) -> np.ndarray:
    """Of several maps the shares are summed up, place by place of the coarsest."""
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logit = tail(maps, training=False)[0, which]
    coarsest = min((one.shape[1:3] for one in maps), key=tuple)
    shares = [
        tf.image.resize(tf.reduce_sum(slope * one, axis=-1, keepdims=True), coarsest, method="area")
        * (one.shape[1] * one.shape[2] / (coarsest[0] * coarsest[1]))
        for one, slope in zip(maps, tape.gradient(logit, maps), strict=True)
    ]
    return np.asarray(tf.add_n(shares)[0, ..., 0])


@contextmanager
def _logits(model: Any) -> Iterator[None]:
    """Let a classifier give its logits: probabilities near 0 and 1 have next to no gradient."""
    last = model.layers[-1]
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    kept, last.activation = last.activation, keras.activations.linear
    try:
        yield
    finally:
        last.activation = kept


def _same(layer: Any) -> Any:
    return layer
