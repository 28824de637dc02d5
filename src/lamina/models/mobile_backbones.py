"""Small backbones with published ImageNet weights: EfficientNet-Lite, MobileNetV2 as in torchvision, SqueezeNet.

`lamina.models.published` brings the weights.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from lamina.models import lazy_keras as keras

Stages: TypeAlias = tuple[tuple[int, int, int, int, int], ...]  # kernel, strides, expansion, filters, repeats of each

_LITE: Final[Stages] = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)  # fmt: skip
_MOBILE: Final[Stages] = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (3, 2, 6, 32, 3), (3, 2, 6, 64, 4), (3, 1, 6, 96, 3), (3, 2, 6, 160, 3),
    (3, 1, 6, 320, 1),
)  # fmt: skip
_SQUEEZED: Final = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def efficientnet_lite0(pixels: Any) -> Any:
    """Build EfficientNet-Lite0; see `efficientnet_lite`."""
    return efficientnet_lite(pixels, width=1.0, depth=1.0)


def efficientnet_lite1(pixels: Any) -> Any:
    """Build EfficientNet-Lite1; see `efficientnet_lite`."""
    return efficientnet_lite(pixels, width=1.0, depth=1.1)


def efficientnet_lite2(pixels: Any) -> Any:
    """Build EfficientNet-Lite2; see `efficientnet_lite`."""
    return efficientnet_lite(pixels, width=1.1, depth=1.2)


def efficientnet_lite(pixels: Any, *, width: float, depth: float) -> Any:
    """Build an EfficientNet without squeeze-and-excite, with ReLU6.

    The first and the last stage are not made deeper; stem and head are not made wider.

    Args:
        pixels: (n, S, S, 3) Keras tensor, (RGB - 127) / 128.
        width: factor of the filters of all stages, rounded to multiples of 8.
        depth: factor of the blocks of the other stages, rounded up.

    Returns:
        Feature maps (n, S/32, S/32, 1280), rounded up.

    Source:
        Tan and Le, EfficientNet, ICML 2019; TensorFlow's models/official/efficientnet/lite.
    """
    last = len(_LITE) - 1
    stages = tuple(
        (kernel, strides, expansion, _round_filters(filters * width),
         repeats if number in (0, last) else math.ceil(repeats * depth))
        for number, (kernel, strides, expansion, filters, repeats) in enumerate(_LITE)
    )  # fmt: skip
    return _inverted_residuals(pixels, stages, _Builder(epsilon=1e-3, symmetric=False))


def mobilenet_v2_torchvision(pixels: Any) -> Any:
    """Build MobileNetV2 as torchvision does: padding of strides on both sides, epsilon 1e-5.

    Args:
        pixels: (n, S, S, 3) Keras tensor, standardized RGB values.

    Returns:
        Feature maps (n, S/32, S/32, 1280), rounded up.

    Source:
        Sandler et al., MobileNetV2, CVPR 2018; torchvision.models.mobilenet_v2.
    """
    return _inverted_residuals(pixels, _MOBILE, _Builder(epsilon=1e-5, symmetric=True))


def squeezenet(pixels: Any) -> Any:
    """Build SqueezeNet 1.1: a convolution, then eight fire modules.

    Args:
        pixels: (n, S, S, 3) Keras tensor, RGB values minus their ImageNet mean.

    Returns:
        Feature maps (n, s, s, 512), s about S/16.

    Source:
        Iandola et al. 2016, SqueezeNet; version 1.1 of the authors' repository.
    """
    x = keras.layers.Conv2D(64, 3, 2, activation="relu", name="conv1")(pixels)
    x = keras.layers.MaxPooling2D(3, 2, name="pool1")(x)
    for number, (squeezed, expanded) in enumerate(_SQUEEZED, start=2):
        x = _fire(x, squeezed, expanded, f"fire{number}")
        if number in (3, 5):
            x = keras.layers.MaxPooling2D(3, 2, name=f"pool{number}")(x)
    return x


def _fire(x: Any, squeezed: int, expanded: int, name: str) -> Any:
    x = keras.layers.Conv2D(squeezed, 1, activation="relu", name=f"{name}_squeeze1x1")(x)
    small = keras.layers.Conv2D(expanded, 1, activation="relu", name=f"{name}_expand1x1")(x)
    large = keras.layers.Conv2D(expanded, 3, padding="same", activation="relu", name=f"{name}_expand3x3")(x)
    return keras.layers.Concatenate(name=f"{name}_concat")([small, large])


def _inverted_residuals(pixels: Any, stages: Stages, build: "_Builder") -> Any:
    """Stem of 32 filters, stages of blocks, and head of 1280 filters."""
    x = build.conv(pixels, 32, "stem", kernel=3, strides=2)
    number = 0
    for kernel, strides, expansion, filters, repeats in stages:
        for repeat in range(repeats):
            x = build.block(x, kernel, 1 if repeat else strides, expansion, filters, f"block{number}")
            number += 1
    return build.conv(x, 1280, "head")


@dataclass(frozen=True, kw_only=True)
class _Builder:
    """Layers of inverted residual blocks: Sandler et al. 2018, section 3.3.

    Attributes:
        epsilon: of batch normalization.
        symmetric: whether strides pad both sides; otherwise as TensorFlow does, the end first.
    """

    epsilon: float
    symmetric: bool

    def block(self, x: Any, kernel: int, strides: int, expansion: int, filters: int, name: str) -> Any:
        y = self.conv(x, x.shape[-1] * expansion, f"{name}_expand") if expansion > 1 else x
        y = self.depthwise(y, kernel, strides, f"{name}_depthwise")
        y = self.conv(y, filters, f"{name}_project", relu=False)
        return keras.layers.Add(name=f"{name}_sum")([x, y]) if strides == 1 and x.shape[-1] == filters else y

    def conv(self, x: Any, filters: int, name: str, *, kernel: int = 1, strides: int = 1, relu: bool = True) -> Any:
        x, padding = self._padded(x, kernel, strides, name)
        x = keras.layers.Conv2D(filters, kernel, strides, padding=padding, use_bias=False, name=f"{name}_conv")(x)
        return self._normed(x, name, relu=relu)

    def depthwise(self, x: Any, kernel: int, strides: int, name: str) -> Any:
        x, padding = self._padded(x, kernel, strides, name)
        x = keras.layers.DepthwiseConv2D(kernel, strides, padding=padding, use_bias=False, name=f"{name}_conv")(x)
        return self._normed(x, name)

    def _normed(self, x: Any, name: str, *, relu: bool = True) -> Any:
        x = keras.layers.BatchNormalization(epsilon=self.epsilon, name=f"{name}_norm")(x)
        return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    def _padded(self, x: Any, kernel: int, strides: int, name: str) -> tuple[Any, str]:
        if self.symmetric and strides > 1:
            return keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"
        return x, "same"


def _round_filters(filters: float) -> int:
    """The nearest multiple of 8, at least 90 % of it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8
