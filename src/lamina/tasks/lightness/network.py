"""Networks that predict lightness from color. Their encoder learns without labels.

The reverse of a colorizer. Source: one half of R. Zhang, P. Isola, A. Efros, Split-Brain Autoencoders, CVPR 2017.
"""

from typing import Any, Final, Literal

from lamina.models.backbones import convention, load_trunk
from lamina.models.chroma import SPREAD
from lamina.models.colorizers import brought_to, encode_and_decode

LightnessDecoder = Literal["conv", "unet"]

NETWORK_LAYER: Final = "lightness"  # name of the trained part in a saved model


def build_lightness_network(
    backbone: str, *, weights: str, decoder: LightnessDecoder, side: int, size: int, dropout: float, seed: int
) -> Any:
    """Build the trained part: from (n, size, size, 3) of `lamina.models.chroma` to (n, side, side, 1) numbers.

    Args:
        backbone, weights: As of `lamina.models.backbones.build_extractor`.
        decoder, dropout: As of `lamina.models.colorizers.build_colorizer`.
        side: Of the output; `build_tail` turns it into lightness.
        size: Of the input.
        seed: Of random weights and dropout.
    """
    from lamina.models.keras_runtime import keras

    trunk = load_trunk(backbone, weights=weights, size=size, seed=seed)
    chroma = keras.Input((size, size, 3), name="chroma")
    numbers = encode_and_decode(trunk, chroma, decoder, side, 1, dropout, seed, frozen=False)
    return keras.Model(chroma, numbers, name=NETWORK_LAYER)


def build_tail(side: int, size: int) -> Any:
    """Build the part that turns numbers into lightness: from (n, side, side, 1) to (n, size, size, 1) L.

    A number is (L - 50) / `SPREAD`. This part has no weights, and does not clip L to 0..100.
    """
    from lamina.models.keras_runtime import keras

    numbers = keras.Input((side, side, 1), name="numbers")
    light = keras.layers.Rescaling(SPREAD, offset=50.0, name="units")(numbers)
    return keras.Model(numbers, brought_to(light, size), name="tail")


def with_ends(network: Any, tail: Any, backbone: str) -> Any:
    """Build the saved model: from (n, S, S, 3) RGB values 0..255 to (n, S, S, 1) L in CIELAB units."""
    from lamina.models.keras_runtime import keras

    size = network.input.shape[1]
    pixels = keras.Input((size, size, 3), name="rgb")
    prepared = convention(backbone, "chroma", size)(pixels)
    return keras.Model(pixels, tail(network(prepared)), name="lightener")
