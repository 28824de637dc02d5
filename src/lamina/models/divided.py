"""A saved network divided at its last feature maps and at its last layer.

One traced function gives its outputs, its features and its maps: tracing a deep network takes longer than predicting
some hundred pictures.
"""

from typing import Any

import numpy as np

from lamina.maths.neighbors import unit_rows
from lamina.models import lazy_keras as keras
from lamina.models.averaging import members_of
from lamina.models.inference import as_tf_function, tensor_batches
from lamina.models.views import single_view


class Divided:
    """A saved network, or an ensemble of some, each divided.

    Args:
        model: from (n, S, S, 3) RGB values 0..255 to (n, units) outputs, of a classifier probabilities.

    Attributes:
        model: the same.
        members: the networks of one view in it: one, or those of an ensemble.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.members = [OneView(single_view(member)) for member in members_of(model)]
        self._whole = None if self.members[0].network is model else as_tf_function(model)

    def outputs(self, pixels: np.ndarray) -> np.ndarray:
        """Predict pictures, (n, S, S, 3) RGB 0..255, n at least 1; returns (n, units)."""
        predict = self._whole or (lambda batch: self.members[0](batch)[0])
        return np.concatenate([predict(batch).numpy() for batch in tensor_batches(pixels)])

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Compute what the last layer sees of pictures, of each as it is, without other views.

        Args:
            pixels: (n, S, S, 3) RGB 0..255, n at least 1.

        Returns:
            (n, width) float32, rows of length 1; of an ensemble, the features of its members next to each other.
        """
        return np.concatenate([_joined(self._of_members(batch)) for batch in tensor_batches(pixels)])

    def outputs_and_features(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `outputs` and `features` of pictures, in one go where the network has one view."""
        found = [(self._of_members(batch), self._whole and self._whole(batch)) for batch in tensor_batches(pixels)]
        outputs = [of_members[0][0] if whole is None else whole for of_members, whole in found]
        features = [_joined(of_members) for of_members, _ in found]
        return np.concatenate([one.numpy() for one in outputs]), np.concatenate(features)

    def features_of_frozen(self, frozen: np.ndarray) -> np.ndarray:
        """Compute the features of pictures from those that a frozen backbone gave, without the backbone.

        Args:
            frozen: (n, width) of the backbone that the network, one of a head over frozen features, holds.
        """
        (member,) = self.members
        return unit_rows(np.concatenate([member.head(batch).numpy() for batch in tensor_batches(frozen)]))

    def _of_members(self, batch: Any) -> list[Any]:
        return [member(batch) for member in self.members]


class OneView:
    """A network of one view. Called with a batch of pictures, it returns outputs, features, and its last maps.

    These are one tensor, (n, height, width, channels), or one for each scale; none where no layer gives any.

    Attributes:
        network: the same.
        head: from what its last layer takes, if that is a network of its own, to the features; None elsewhere.
        tail: from the last maps to the outputs, of the same layers as the network; None where there are no maps.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        calls = _calls_of_layers(network)
        taken, self.head, last = _before_last(network, calls)
        features = self.head(taken) if self.head else taken
        outputs = last(features)
        flat = [keras.tree.flatten(given) for _, given in calls.values()]
        maps: list[Any] = next((tensors for tensors in reversed(flat) if len(tensors[0].shape) == 4), [])
        self._call = as_tf_function(keras.Model(network.input, [outputs, features, *maps]))
        self.tail = keras.Model(maps, outputs) if maps else None

    def __call__(self, batch: Any) -> list[Any]:
        found: list[Any] = self._call(batch)
        return found


def _calls_of_layers(network: Any) -> dict[Any, tuple[Any, Any]]:
    """Call the layers of a network again; return what each took and gave, by layer, in their order.

    What layers of a nested network gave when they were first called is not part of the outer graph.
    """
    calls = {}

    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        given = layer(*arguments, **named)
        calls[layer] = arguments[0], given
        return given

    keras.models.clone_model(network, input_tensors=network.input, clone_function=lambda one: one, call_function=call)
    return calls


def _before_last(network: Any, calls: dict[Any, tuple[Any, Any]]) -> tuple[Any, Any, Any]:
    """Return what a network's last layer takes, and divide that layer where it is a network, as a head is.

    Returns:
        What it takes; of a network, its part before its own last layer, None elsewhere; and the last layer of all.
    """
    last = network.layers[-1]
    taken, _ = calls[last]
    if not isinstance(last, keras.Model):
        return taken, None, last
    inside, head, layer = _before_last(last, _calls_of_layers(last))
    return taken, keras.Model(last.input, head(inside) if head else inside), layer


def _joined(of_members: list[Any]) -> np.ndarray:
    return unit_rows(np.hstack([unit_rows(features.numpy()) for _, features, *_ in of_members]))
