"""The saved model of a colorizer: pictures in, pictures out, and inside it the network from lightness to colors."""

from typing import Any, Final

from lamina.errors import UserError
from lamina.models.color_layers import lightness, to_rgb
from lamina.models.colorizers import with_tail

COLORIZER: Final = "colorizer"  # name of the model from L to a, b inside the saved model


def final_model(network: Any, tail: Any, *, flip_tta: bool) -> Any:
    """Return the model that is saved: RGB values 0..255, (n, S, S, 3), grey or not, to the same pictures in color."""
    from lamina.models.keras_runtime import keras

    colorizer = with_tail(network, tail, flip_tta=flip_tta)
    pixels = keras.Input((*colorizer.input.shape[1:3], 3), name="rgb")
    light = lightness(pixels)
    return keras.Model(pixels, to_rgb(light, colorizer(light)), name="recolor")


def colorizer_of(model: Any) -> Any:
    """Return the model from L, (n, S, S, 1) 0..100, to a, b in CIELAB units, (n, S, S, 2), inside a saved model.

    Raises:
        UserError: if there is none.
    """
    found = next((layer for layer in model.layers if layer.name == COLORIZER), None)
    if found is None:
        raise UserError(f"{model.name}: holds no network from lightness to colors; train the run again")
    return found
