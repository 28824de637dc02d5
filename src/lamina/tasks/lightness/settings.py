"""Settings of runs that learn lightness from color."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from lamina.models.backbones import BACKBONES, Precision
from lamina.tasks.pixel_recipe import PixelRecipe
from lamina.training.settings import Augmentation, GradientSettings, RunSettings, among


class LightnessSettings(PixelRecipe, GradientSettings):
    """A network that predicts lightness from color, so that its encoder serves classifiers with few labels. No labels.

    All of it learns from a and b of CIELAB: features that take its weights need `preprocess: chroma`. The gate does
    not compare these runs: they are a means.

    Attributes:
        encoder: any of `docs/networks.md`; `weights` start it.
        decoder, precision, augmentation: as for runs that colorize.
        preprocess: what the encoder is given: color without lightness, nothing else.
    """

    input: Literal["pixels"]
    encoder: Annotated[str, among("network", BACKBONES)]
    decoder: Literal["conv", "unet"]
    precision: Precision = "float32"
    augmentation: Augmentation = "plan"
    preprocess: Literal["chroma"] = "chroma"


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings."""
    return LightnessSettings
