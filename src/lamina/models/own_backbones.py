"""Backbones of this project, from prepared pictures to feature maps, for any size from their smallest."""

from typing import Any

from lamina.models import lazy_keras as keras


def small_cnn(x: Any) -> Any:
    """Build four blocks of 3x3 convolution (16, 32, 64, 128 filters), ReLU and 2x2 max pooling.

    Args:
        x: a Keras tensor (n, size, size, 3), values -1..1.

    Returns:
        A Keras tensor (n, size/16, size/16, 128), rounded up.
    """
    for number, filters in enumerate((16, 32, 64, 128), start=1):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(x)
    return x


def mnist_cnn(pixels: Any) -> Any:
    """Build two blocks of 3x3 convolution (32, 64 filters), ReLU and 2x2 max pooling, for digits.

    Args:
        pixels: a Keras tensor (n, size, size, 3), values 0..1; they are converted to grey.

    Returns:
        A Keras tensor (n, size/4, size/4, 64), rounded down.
    """
    x = keras.ops.image.rgb_to_grayscale(pixels)
    for number, filters in enumerate((32, 64), start=1):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return x


def lenet5(pixels: Any) -> Any:
    """Build the layers C1 to S4 of LeNet-5: 5x5 convolutions (6, 16 filters), tanh, 2x2 average pooling.

    C3 is connected to all maps of S2, as usual today.

    Args:
        pixels: a Keras tensor (n, size, size, 3), values -0.1..1.175; they are converted to grey.

    Returns:
        A Keras tensor, (n, 5, 5, 16) for size 32.

    Source:
        LeCun et al. 1998, section II.B.
    """
    x = keras.ops.image.rgb_to_grayscale(pixels)
    for number, filters in ((1, 6), (3, 16)):
        x = keras.layers.Conv2D(filters, 5, activation="tanh", name=f"c{number}")(x)
        x = keras.layers.AveragePooling2D(2, name=f"s{number + 1}")(x)
    return x


def resnet20(pixels: Any) -> Any:
    """Build three stages of three residual blocks (16, 32, 64 filters), for small pictures.

    Shortcuts have no weights: at the start of a stage they take every second pixel, and new channels are zeros (their
    option A).

    Args:
        pixels: a Keras tensor (n, size, size, 3), values -1..1.

    Returns:
        A Keras tensor (n, size/4, size/4, 64), rounded up.

    Source:
        He et al. 2016, section 4.2.
    """
    x = _conv_norm(pixels, 16, 1, "stem")
    x = keras.layers.ReLU(name="stem_relu")(x)
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in (1, 2, 3):
            x = _residual(x, filters, 2 if stage > 1 and block == 1 else 1, f"stage{stage}_block{block}")
    return x


def resnet9(pixels: Any) -> Any:
    """Build a wide, shallow residual network (16, 32, 64, 128 filters), which trains fast on small pictures.

    A stem; three stages of 3x3 convolution and 2x2 max pooling; after the first and the last stage a residual block of
    two convolutions.

    Args:
        pixels: a Keras tensor (n, size, size, 3), values -1..1.

    Returns:
        A Keras tensor (n, size/8, size/8, 128), rounded down.

    Source:
        D. Page, How to train your ResNet, 2018 (for DAWNBench), with a quarter of its filters.
    """
    x = keras.layers.ReLU(name="stem_relu")(_conv_norm(pixels, 16, 1, "stem"))
    for stage, filters in enumerate((32, 64, 128), start=1):
        x = keras.layers.ReLU(name=f"stage{stage}_relu")(_conv_norm(x, filters, 1, f"stage{stage}"))
        x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        if stage != 2:
            y = keras.layers.ReLU(name=f"stage{stage}_1_relu")(_conv_norm(x, filters, 1, f"stage{stage}_1"))
            y = keras.layers.ReLU(name=f"stage{stage}_2_relu")(_conv_norm(y, filters, 1, f"stage{stage}_2"))
            x = keras.layers.Add(name=f"stage{stage}_sum")([x, y])
    return x


def _residual(x: Any, filters: int, strides: int, name: str) -> Any:
    y = keras.layers.ReLU(name=f"{name}_1_relu")(_conv_norm(x, filters, strides, f"{name}_1"))
    y = _conv_norm(y, filters, 1, f"{name}_2")
    if strides > 1:
        x = keras.layers.AveragePooling2D(1, strides=strides, name=f"{name}_thinned")(x)
        missing = (filters - x.shape[-1]) // 2
        x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing, missing)))
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_sum")([x, y]))


def _conv_norm(x: Any, filters: int, strides: int, name: str) -> Any:
    x = keras.layers.Conv2D(
        filters, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    # with Keras' default 0.99, evaluation is meaningless for the first hundreds of steps
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
