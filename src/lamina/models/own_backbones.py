"""Own networks without their heads: from prepared pictures to feature maps, of any size that they take."""

from typing import Any

from lamina.models.keras_runtime import keras

layers = keras.layers


def small_cnn(size: int) -> keras.Model:
    """Four blocks of 3x3 convolution (16, 32, 64, 128 filters), ReLU and 2x2 max-pooling.

    From (n, size, size, 3) values -1..1 to (n, size/16, size/16, 128), rounded up.
    """
    pixels = x = keras.Input((size, size, 3), name="prepared")
    for number, filters in enumerate((16, 32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(x)
    return keras.Model(pixels, x)


def mnist_cnn(size: int) -> keras.Model:
    """Two blocks of 3x3 convolution (32, 64 filters), ReLU and 2x2 max-pooling, for digits.

    From (n, size, size, 3) values 0..1, of which the luma counts, to (n, size/4, size/4, 64), rounded down.
    """
    pixels = keras.Input((size, size, 3), name="prepared")
    x = keras.ops.image.rgb_to_grayscale(pixels)
    for number, filters in enumerate((32, 64), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return keras.Model(pixels, x)


def lenet5(size: int) -> keras.Model:
    """The layers C1 to S4 of LeNet-5: 5x5 convolutions (6, 16 filters), tanh, 2x2 average-pooling.

    From (n, size, size, 3) values -0.1..1.175, of which the luma counts, to (n, 5, 5, 16) where the size is 32.
    C3 sees all maps of S2, as everywhere today. Source: LeCun et al. 1998, section II.B.
    """
    pixels = keras.Input((size, size, 3), name="prepared")
    x = keras.ops.image.rgb_to_grayscale(pixels)
    for number, filters in ((1, 6), (3, 16)):
        x = layers.Conv2D(filters, 5, activation="tanh", name=f"c{number}")(x)
        x = layers.AveragePooling2D(2, name=f"s{number + 1}")(x)
    return keras.Model(pixels, x)


def resnet20(size: int) -> keras.Model:
    """Three stages of three residual blocks (16, 32, 64 filters), for little pictures.

    Shortcuts have no weights: where a stage begins they take every second place and fill up with zeros (option A).
    From (n, size, size, 3) values -1..1 to (n, size/4, size/4, 64), rounded up.
    Source: He et al. 2016, section 4.2.
    """
    pixels = keras.Input((size, size, 3), name="prepared")
    x = _normalised(pixels, 16, 1, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in (1, 2, 3):
            x = _residual(x, filters, 2 if stage > 1 and block == 1 else 1, f"stage{stage}_block{block}")
    return keras.Model(pixels, x)


def _residual(x: Any, filters: int, strides: int, name: str) -> Any:
    y = layers.ReLU(name=f"{name}_1_relu")(_normalised(x, filters, strides, f"{name}_1"))
    y = _normalised(y, filters, 1, f"{name}_2")
    if strides > 1:
        x = layers.AveragePooling2D(1, strides=strides, name=f"{name}_thinned")(x)
        missing = (filters - x.shape[-1]) // 2
        x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing, missing)))
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_sum")([x, y]))


def _normalised(x: Any, filters: int, strides: int, name: str) -> Any:
    x = layers.Conv2D(
        filters, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    # 0.9: Keras' own 0.99 takes hundreds of steps before a network can be judged
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
