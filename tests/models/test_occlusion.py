"""Occlusion: covering the only place that a network looks at costs the class, elsewhere nothing."""

from typing import Any

import numpy as np

from lamina.models.averaging import average
from lamina.models.divided import Divided
from lamina.models.inference import inference
from lamina.models.keras_runtime import keras
from lamina.models.occlusion import GRID, Occlusion, covered
from lamina.models.onnx_layer import OnnxFeatures
from lamina.models.saliency import Saliency, explainer

SIDE = 21  # three pixels for each place


def network(row: int, column: int) -> Any:
    """Two classes by the brightness of one place."""
    pixels = keras.Input((SIDE, SIDE, 3))
    seen = pixels[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(seen))
    kernel = keras.initializers.Constant(np.array([[1.0, -1.0]] * 3))
    dense = keras.layers.Dense(2, activation="softmax", kernel_initializer=kernel)
    return keras.Model(pixels, dense(mean))


def picture(bright: tuple[int, int]) -> np.ndarray:
    drawn = np.full((SIDE, SIDE, 3), 40, np.uint8)
    drawn[3 * bright[0] : 3 * bright[0] + 3, 3 * bright[1] : 3 * bright[1] + 3] = 250
    return drawn


def test_only_the_place_that_counts_is_shown() -> None:
    pixels, occlusion = picture((2, 4))[None], Occlusion(inference(network(2, 4)))
    (found,) = occlusion.shares(pixels, np.array([[0, 1]]))
    assert found.shape == (2, GRID, GRID)
    # the difference of two logits is twice the sum over three channels
    fall = 2 * 3 * (250 - pixels.mean()) / 255
    expected = np.zeros((GRID, GRID))
    expected[2, 4] = fall
    np.testing.assert_allclose(found, [expected, -expected], atol=1e-4)


def test_a_picture_is_explained_alone() -> None:
    pixels, occlusion = np.stack([picture((2, 4)), picture((0, 0))]), Occlusion(inference(network(0, 0)))
    together = occlusion.shares(pixels, np.array([[0], [1]]))
    np.testing.assert_allclose(occlusion.shares(pixels[1:], np.array([[1]]))[0], together[1], atol=1e-6)


def test_places_cover_a_picture_of_any_side() -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (10, 10, 3)).astype(np.uint8)
    shown = covered(drawn)
    assert shown.shape == (GRID * GRID, 10, 10, 3)
    changed = (shown != drawn).any(axis=-1).sum(axis=0)
    np.testing.assert_array_equal(changed, 1)


def test_networks_with_a_gradient_keep_their_method() -> None:
    pixels = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3)(pixels)
    dense = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(maps))
    assert isinstance(explainer(Divided(keras.Model(pixels, dense))), Saliency)


def test_an_ensemble_with_a_member_that_has_no_gradient_is_occluded() -> None:
    pixels = keras.Input((8, 8, 3))
    backbone = OnnxFeatures(4)(pixels)
    one = keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(backbone))
    maps = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(pixels))
    other = keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(maps))
    assert isinstance(explainer(Divided(average({"one": one, "other": other}))), Occlusion)
