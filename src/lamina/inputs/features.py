"""Features as an input: their identity, and the files of interrupted extractions.

Features of a frozen backbone are computed once per entry of the section `features`. The file of an interrupted
extraction is kept outside of what DVC empties, under a key of everything that decides the features, and continued.
"""

from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self, get_args

import numpy as np
import pandas as pd
from pydantic import Field, ValidationInfo, field_validator, model_validator

from lamina.config import Config
from lamina.data.rows import Folders
from lamina.files import discard, json_digest
from lamina.inputs.index import input_digest
from lamina.models import onnx_options
from lamina.models.backbones import BACKBONES, RANDOM, Pooling, Precision, Preprocess
from lamina.models.onnx_options import ONNX, OnnxPooling, OnnxPreprocess
from lamina.source_code import code_digest
from lamina.training.settings import among, is_weights, weights_identity

UNFINISHED: Final = Path(".lamina/features")  # in a system's folder, out of reach of DVC
_KNOWN: Final = MappingProxyType(  # values of a setting: of our backbones, and of an ONNX file
    {
        "pooling": (get_args(Pooling), get_args(OnnxPooling)),
        "preprocess": (get_args(Preprocess), get_args(OnnxPreprocess)),
    }
)
_LIBRARIES: Final = ("keras", "numpy", "onnx", "opencv-python-headless", "openvino", "tensorflow")


class FeaturesSettings(Config):
    """An entry of the section `features`: a frozen backbone whose features are computed once for all runs.

    Attributes:
        backbone: any of `docs/networks.md`, or onnx: the network of an ONNX file.
        weights: `weights/random`, `weights/imagenet/NAME.weights.h5`, or a model that a run wrote; with onnx, the file.
        pooling: avg: mean over the picture; flatten: every place by itself; scales: mean and deviation at every scale.
            With onnx: avg, flatten, or token: the first token.
        preprocess: native: the backbone's input convention; rescale: pixels / 255; chroma: color without lightness, as
            the encoder of a lightness run learned it. With onnx: `lamina.models.onnx_extractor.make_network`.
        precision: what the backbone computes in.
        size: of onnx: side in pixels to which pictures are resized; null: the file's, or else that of the pictures.
        output: of onnx: name of an output, or of a tensor inside the network; null: the only output.
    """

    backbone: Annotated[str, among("backbone", (*BACKBONES, ONNX))]
    weights: str
    pooling: Literal[Pooling, OnnxPooling]
    preprocess: Literal[Preprocess, OnnxPreprocess]
    precision: Precision = "float32"
    size: Annotated[int, Field(ge=8, le=4096)] | None = None
    output: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("weights")
    @classmethod
    def _are_weights(cls, path: str, info: ValidationInfo) -> str:
        if info.data.get("backbone") != ONNX:
            return is_weights(path)
        if not path.endswith(onnx_options.SUFFIX):
            raise ValueError("expected the path of an .onnx file, as pretrained/NAME.onnx, since backbone is onnx")
        return path

    @field_validator("pooling", "preprocess", mode="before")
    @classmethod
    def _fits_backbone(cls, value: object, info: ValidationInfo) -> object:
        is_onnx, name = info.data.get("backbone") == ONNX, str(info.field_name)
        known = _KNOWN[name][is_onnx]
        if value not in known:
            backbone = info.data.get("backbone", "this backbone")
            reason = "; an ONNX file does not say its own convention" if (is_onnx, value) == (True, "native") else ""
            raise ValueError(f"{backbone} takes {name}: {' | '.join(known)}{reason}")
        return value

    @model_validator(mode="after")
    def _only_of_onnx(self) -> Self:
        for name in ("size", "output"):
            if self.backbone != ONNX and getattr(self, name) is not None:
                raise ValueError(f"{name}: only backbone: onnx has it, and backbone is {self.backbone}; leave it out")
        return self

    @field_validator("precision")
    @classmethod
    def _keeps_color(cls, precision: str, info: ValidationInfo) -> str:
        # a and b are small differences of large numbers: features were off by 17 % of their spread between pictures
        if precision == "bfloat16" and info.data.get("preprocess") == "chroma":
            raise ValueError("chroma: bfloat16 leaves too little of the color; set precision to float32")
        return precision


@dataclass(frozen=True)
class FeatureExamples:
    """Features in memory: (n, width) float16, and class numbers, (n,) int32. Heads train on them as they are."""

    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


def features_key(settings: FeaturesSettings, folders: Folders, *, seed: int) -> str:
    """Return the SHA-256 of all that decides features: settings, weights, data, code and libraries."""
    decides = settings.model_dump() | {
        "weights": weights_identity(settings.weights),
        "seed": seed if settings.weights == RANDOM else None,
        "data": input_digest(folders.pixels, folders),
        "code": code_digest("lamina.inputs.extraction"),
        "libraries": [_version(name) for name in _LIBRARIES],
    }
    return json_digest(decides)


def tidy(unfinished: Path, needed: Collection[str]) -> None:
    """Remove what interrupted extractions left, except under the needed keys."""
    for path in unfinished.glob("*"):
        if path.name not in needed:
            discard(path)


def fold_rows(manifest: pd.DataFrame, fold: str) -> np.ndarray:
    """Return the places of a fold's rows in the split manifest."""
    return np.flatnonzero(manifest["fold"] == fold)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
