"""What a classifier sees in a picture: the values that its last layer decides by."""

from typing import Any

from lamina.models.averaging import members_of
from lamina.models.inference import Predictor, inference
from lamina.models.keras_runtime import keras
from lamina.models.views import single_view


def embedding(model: Any) -> Predictor:
    """Make a function from pictures to the input of a model's last trained layer; for a head, to its frozen features.

    Args:
        model: From (n, S, S, 3) RGB values 0..255 to (n, units), which a `Rescaling` may bring to their own unit. Of an
            ensemble, its first member; of several views, one.

    Returns:
        From (n, S, S, 3) to (n, width) float32.
    """
    network = single_view(members_of(model)[0])
    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.Rescaling)]
    values = keras.layers.Flatten()(layers[-2].output)
    return inference(keras.Model(network.input, values))
