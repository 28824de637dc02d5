"""Names of the settings of a backbone that comes from an ONNX file."""

from typing import Final, Literal

ONNX: Final = "onnx"  # the value of `backbone` that stands for a file
SUFFIX: Final = ".onnx"

OnnxPreprocess = Literal["imagenet", "symmetric", "rescale", "none"]
OnnxPooling = Literal["avg", "token", "flatten"]

FROZEN_ONLY: Final = "onnx: a file is a frozen backbone; name it in an entry of features, with backbone: onnx"
