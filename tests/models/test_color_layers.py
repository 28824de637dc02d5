"""sRGB to lightness and back as layers of a network: the same as scikit-image and as our own arithmetic in integers."""

from pathlib import Path

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.models.color_layers import lightness, to_rgb
from lamina.models.keras_runtime import keras


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Random colors; among them black, white, and the darkest greys, where both curves are straight lines."""
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    rgb[0, :16, :16] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)  # every grey
    rgb[1, 0] = 0, 0, 255
    rgb[1, 1] = 255, 255, 0
    return rgb


def layer(values: np.ndarray) -> np.ndarray:
    return np.asarray(lightness(values.astype(np.float32)))


def test_lightness_is_that_of_scikit_image(pictures: np.ndarray) -> None:
    found = layer(pictures)
    assert found.shape == (4, 24, 24, 1)
    np.testing.assert_allclose(found, rgb2lab(pictures)[..., :1], atol=0.01)


def test_lightness_is_what_training_reads(pictures: np.ndarray) -> None:
    np.testing.assert_allclose(layer(pictures), srgb_to_lab(pictures)[..., :1] / 100, atol=0.02)


def test_lightness_is_from_0_to_100() -> None:
    ends = np.zeros((2, 1, 1, 3))
    ends[1] = 255
    np.testing.assert_allclose(layer(ends).ravel(), [0, 100], atol=1e-3)


def test_a_picture_and_its_grey_have_the_same_lightness(pictures: np.ndarray) -> None:
    lab = srgb_to_lab(pictures)
    lab[..., 1:] = 0
    np.testing.assert_allclose(layer(lab_to_srgb(lab)), layer(pictures), atol=0.25)  # half a step of 8 bits


def test_colors_become_rgb_as_in_scikit_image(pictures: np.ndarray) -> None:
    lab = rgb2lab(pictures).astype(np.float32)
    found = np.asarray(to_rgb(lab[..., :1], lab[..., 1:]))
    assert found.shape == pictures.shape
    np.testing.assert_allclose(found, lab2rgb(lab) * 255, atol=0.05)
    np.testing.assert_array_equal(np.rint(found).astype(np.uint8), pictures)


def test_colors_become_rgb_as_in_our_own_arithmetic(pictures: np.ndarray) -> None:
    lab = srgb_to_lab(pictures)
    found = np.asarray(to_rgb(lab[..., :1] / np.float32(100), lab[..., 1:] / np.float32(100)))
    assert np.abs(found - lab_to_srgb(lab)).max() < 0.6  # rounding to 8 bits, and to hundredths of a unit


def test_colors_beyond_srgb_are_cut() -> None:
    random = np.random.default_rng(1)
    lab = np.stack([random.uniform(0, 100, (8, 8)), *random.uniform(-120, 120, (2, 8, 8))], axis=-1)[None]
    lab = lab.astype(np.float32)
    found = np.asarray(to_rgb(lab[..., :1], lab[..., 1:]))
    assert (found.min(), found.max()) == (0, pytest.approx(255))
    stored = lab_to_srgb(np.rint(lab * 100).astype(np.int16))
    assert np.abs(found - stored).max() < 1


def test_there_and_back_is_the_same_picture_inside_a_saved_model(pictures: np.ndarray, tmp_path: Path) -> None:
    rgb, colors = keras.Input((24, 24, 3)), keras.Input((24, 24, 2))
    keras.Model([rgb, colors], to_rgb(lightness(rgb), colors)).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    ab = rgb2lab(pictures)[..., 1:].astype(np.float32)
    found = np.asarray(loaded([pictures.astype(np.float32), ab]))
    np.testing.assert_array_equal(np.rint(found).astype(np.uint8), pictures)
