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
        self._networks = [as_tf_function(_without_last(single_view(member))) for member in members_of(model)]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute the features of pictures, of each as it is, without other views.

        Args:
            pixels: (n, S, S, 3) RGB 0..255, n at least 1.

        Returns:
            (n, width) float32, rows of length 1.
        """
        found = [[network(batch).numpy() for network in self._networks] for batch in tensor_batches(pixels)]
        return unit_rows(np.concatenate([np.hstack([unit_rows(part) for part in parts]) for parts in found]))


def _without_last(single: Any) -> Any:
    """Return a classifier without its last layer, also where that is inside a nested network, as a head is."""
    seen = {}

    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        seen[layer] = arguments[0]
        return layer(*arguments, **named)

    # calls inside a nested network are not part of the outer graph; those of a new call are
    keras.models.clone_model(single, input_tensors=single.input, clone_function=lambda layer: layer, call_function=call)
    last = single.layers[-1]
    before = seen[last]
    return keras.Model(single.input, _without_last(last)(before) if isinstance(last, keras.Model) else before)
