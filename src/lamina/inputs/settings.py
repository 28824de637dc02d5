"""Settings of the entries of the section `features`: what frozen backbones see."""

from typing import Annotated

from pydantic import ValidationInfo, field_validator

from lamina.config import Config
from lamina.models.backbones import BACKBONES, Pooling, Precision, Preprocess
from lamina.training.settings import Weights, among


class FeaturesSettings(Config):
    """An entry of the section `features`: a frozen backbone whose features are computed once for all runs.

    Attributes:
        backbone: any of `docs/networks.md`.
        weights: `weights/random`, `weights/imagenet/NAME.weights.h5`, or a model that a run wrote.
        pooling: avg: mean over the picture; flatten: every place by itself; scales: mean and deviation at every scale.
        preprocess: native: the backbone's input convention; rescale: pixels / 255; chroma: color without lightness, as
            the encoder of a lightness run learned it.
        precision: what the backbone computes in.
    """

    backbone: Annotated[str, among("backbone", BACKBONES)]
    weights: Weights
    pooling: Pooling
    preprocess: Preprocess
    precision: Precision = "float32"

    @field_validator("precision")
    @classmethod
    def _keeps_color(cls, precision: str, info: ValidationInfo) -> str:
        # a and b are small differences of large numbers: features were off by 17 % of their spread between pictures
        if precision == "bfloat16" and info.data.get("preprocess") == "chroma":
            raise ValueError("chroma: bfloat16 leaves too little of the color; set precision to float32")
        return precision
