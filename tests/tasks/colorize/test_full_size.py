"""Color at full size, from a network that colors small squares."""

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from lamina.data.originals import read_original
from lamina.data.pixels import cut_square, whole_picture
from lamina.maths.gamut import lightness
from lamina.tasks.colorize.full_size import colorize, enlarge
from scans import SIZE, WHOLE, by_hand, encode, linear, waves


@pytest.fixture(scope="module")
def model() -> Any:
    return linear()


def colored(model: Any, encoded: bytes, strength: float = 1.0) -> np.ndarray:
    original = read_original(encoded, WHOLE)
    return next(colorize(model, [original], [original.pixels.dtype], strength))


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (90, 90), (20, 12), (33, 32), (300, 7), (5, 200), (1, 1)])
def test_any_size_gets_the_color_that_its_network_predicts(model: Any, shape: tuple[int, int]) -> None:
    """A network that says the same for every lightness: then so must every pixel be."""
    width, height = shape
    grey = waves(width, height)
    light, chroma = np.full((16, 16), 50, np.float32), np.tile(np.float32([12, -9]), (16, 16, 1))
    found = rgb2lab(enlarge(grey, light, chroma, np.dtype(np.uint16)) / 65535)
    np.testing.assert_allclose(found[..., 0], lightness(grey), atol=0.01)
    np.testing.assert_allclose(found[..., 1:], np.broadcast_to([12, -9], (height, width, 2)), atol=0.05)
    assert colored(model, encode(grey)).shape == (height, width, 3)


@pytest.mark.parametrize("shape", [(40, 120), (120, 120), (120, 40)])
def test_color_lies_where_the_network_saw_it(model: Any, shape: tuple[int, int]) -> None:
    """Four fields of one grey each: the square's edges must be undone, and each field gets its own color."""
    grey = np.kron(np.array([[80, 110], [140, 170]], np.uint8), np.ones((shape[0] // 2, shape[1] // 2), np.uint8))
    found = rgb2lab(colored(model, encode(grey)))
    expected = by_hand(lightness(grey).astype(np.float64))
    rows, columns = (np.abs(np.arange(length) + 0.5 - length / 2) > 8 for length in shape)
    np.testing.assert_allclose(found[rows][:, columns], expected[rows][:, columns], atol=0.7)


def test_color_does_not_bleed_over_an_edge() -> None:
    """A sharp edge far finer than the square's pixels, with blue left of it and yellow right."""
    grey = np.full((320, 320), 90, np.uint8)
    grey[:, 165:] = 180
    small = cut_square(Image.fromarray(grey).convert("RGB"), SIZE, whole_picture(320, 320))
    light = lightness(small)
    shares = (light - light.min()) / np.ptp(light)
    chroma = np.dstack([np.zeros_like(light), -20 + 40 * shares]).astype(np.float32)
    found = rgb2lab(enlarge(grey, light, chroma, np.dtype(np.uint8)))[..., 2]
    bilinear = cv2.resize(chroma[..., 1], (320, 320))
    off = np.abs(found - np.where(grey == 90, -20, 20))[:, 145:185].mean()
    assert off < 0.35 * np.abs(bilinear - np.where(grey == 90, -20, 20))[:, 145:185].mean()


def test_color_without_lightness_is_enlarged_bilinearly() -> None:
    light = np.full((8, 8), 50, np.float32)
    chroma = np.random.default_rng(0).uniform(-15, 15, (8, 8, 2)).astype(np.float32)
    found = rgb2lab(enlarge(np.full((80, 80), 119, np.uint8), light, chroma, np.dtype(np.uint16)) / 65535)
    np.testing.assert_allclose(found[..., 1:], cv2.resize(chroma, (80, 80)), atol=0.05)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_strength_multiplies_chroma_and_keeps_lightness(model: Any, strength: float) -> None:
    grey = waves(top=65535)
    found = colored(model, encode(grey), strength)
    if strength == 0:
        np.testing.assert_array_equal(found, np.dstack([grey] * 3))
    assert np.abs(lightness(found) - lightness(grey)).max() < 0.01
    expected = by_hand(lightness(grey).astype(np.float64), strength)
    inside = rgb2lab(found / 65535)[8:-8, 8:-8]
    assert np.abs(inside - expected[8:-8, 8:-8]).mean() < 0.25


def test_a_picture_is_colored_alone(model: Any) -> None:
    originals = [read_original(encode(waves(90, 60 + 7 * n)), WHOLE) for n in range(5)]
    depth = np.dtype(np.uint8)
    together = list(colorize(model, originals, [depth] * 5))
    for original, found in zip(originals, together, strict=True):
        alone = next(colorize(model, [original], [depth]))
        assert np.abs(alone.astype(int) - found).max() <= 1
