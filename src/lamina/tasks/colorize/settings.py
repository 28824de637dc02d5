"""Settings of runs that colorize."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ValidationInfo, field_validator

from lamina.models.backbones import BACKBONES, RANDOM, Convention, Precision
from lamina.models.colorizers import Decoder, Loss
from lamina.tasks.pixel_recipe import PixelRecipe
from lamina.training.settings import Augmentation, GradientSettings, RunSettings, among


class ColorizeSettings(PixelRecipe, GradientSettings):
    """A network that predicts a picture's colors from its lightness: an encoder of the zoo and a decoder. No labels.

    Attributes:
        encoder: any of `docs/networks.md`; `weights` start it.
        preprocess: what the encoder is given: its native input convention, or pixels / 255.
        decoder: dense (fully connected), conv (upsampling), unet (with skips from the encoder's stages).
        loss: mse, of a and b; rebalanced: cross-entropy over bins of a and b, in which rare colors count more.
        trainable: whether the encoder learns as well.
        initialize: what starts from `weights`: the encoder alone, or the whole network, which takes the model of a
            colorizer with the same encoder, decoder and loss, trained on pictures about as large.
        precision: what all layers compute in during training.
        augmentation: as for networks that classify. Copies are flipped, turned and shifted, but keep their colors.
        flip_tta: whether the saved model averages the colors of a picture and of its mirror image (test-time
            augmentation), in twice the time. While training, the picture alone is evaluated.
    """

    fixed = ("flip_tta",)

    input: Literal["pixels"]
    encoder: Annotated[str, among("network", BACKBONES)]
    preprocess: Convention
    decoder: Decoder
    loss: Loss
    trainable: bool
    initialize: Literal["encoder", "whole"] = "encoder"
    precision: Precision = "float32"
    augmentation: Augmentation = "plan"
    flip_tta: bool = False

    @field_validator("loss")
    @classmethod
    def _fits_decoder(cls, loss: str, info: ValidationInfo) -> str:
        if loss == "rebalanced" and info.data.get("decoder") == "dense":
            raise ValueError("the decoder dense is too small for a logit per place and bin; take conv or unet, or mse")
        return loss

    @field_validator("initialize")
    @classmethod
    def _has_weights(cls, initialize: str, info: ValidationInfo) -> str:
        if initialize == "whole" and not str(info.data.get("weights", RANDOM)).endswith(".keras"):
            raise ValueError("whole: weights must then be a colorizer's model.keras; expected encoder here")
        return initialize


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings."""
    return ColorizeSettings
