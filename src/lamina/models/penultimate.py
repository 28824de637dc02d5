"""Features of a saved classifier: what its last layer sees of a picture."""

from typing import Any

import numpy as np

from lamina.maths.neighbors import unit_rows
from lamina.models import lazy_keras as keras
from lamina.models.averaging import members_of
from lamina.models.inference import as_tf_function, tensor_batches
from lamina.models.views import single_view


class Penultimate:
    """The input of a classifier's last layer, at length 1; of an ensemble, those of its members next to each other.

    Args:
        model: from (n, S, S, 3) RGB values 0..255 to (n, classes) probabilities.
    """

    def __init__(self, model: Any) -> None:
        singles = [single_view(member) for member in members_of(model)]
        self._networks = [as_tf_function(_divided(single)) for single in singles]
        self._whole = None if singles[0] is model else as_tf_function(model)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute the features of pictures, of each as it is, without other views.

        Args:
            pixels: (n, S, S, 3) RGB 0..255, n at least 1.

        Returns:
            (n, width) float32, rows of length 1.
        """
        return np.concatenate([_joined(self._parts(batch)) for batch in tensor_batches(pixels)])

    def with_answers(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict pictures and compute their features, in one go where the model has one view.

        Returns:
            (n, classes) probabilities of the model, and the features.
        """
        found = [(self._parts(batch), self._whole and self._whole(batch)) for batch in tensor_batches(pixels)]
        answers = [parts[0][1] if whole is None else whole for parts, whole in found]
        return np.concatenate([one.numpy() for one in answers]), np.concatenate([_joined(parts) for parts, _ in found])

    def _parts(self, batch: Any) -> list[Any]:
        return [network(batch) for network in self._networks]


def _joined(parts: list[Any]) -> np.ndarray:
    return unit_rows(np.hstack([unit_rows(features.numpy()) for features, _ in parts]))


def _divided(single: Any) -> Any:
    """Return a classifier with two outputs: what its last layer sees, and the probabilities."""
    features, last = _without_last(single)
    return keras.Model(features.input, [features.output, last(features.output)])


def _without_last(single: Any) -> tuple[Any, Any]:
    """Return a classifier without its last layer, and that, also where it is inside a nested network, as a head is."""
    seen = {}

    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        seen[layer] = arguments[0]
        return layer(*arguments, **named)

    # calls inside a nested network are not part of the outer graph; those of a new call are
    keras.models.clone_model(single, input_tensors=single.input, clone_function=lambda layer: layer, call_function=call)
    last = single.layers[-1]
    before = seen[last]
    if isinstance(last, keras.Model):
        inner, last = _without_last(last)
        before = inner(before)
    return keras.Model(single.input, before), last
