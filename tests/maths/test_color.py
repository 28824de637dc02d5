"""CIELAB: nothing is lost, and it is the CIELAB that others mean."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from lamina.maths.color import UNITS, lab_to_srgb, srgb_to_lab


def all_colors(red: int) -> np.ndarray:
    """The 256 * 256 colors with this much red, shape (256, 256, 3)."""
    green, blue = np.mgrid[0:256, 0:256]
    return np.stack([np.full_like(green, red), green, blue], axis=-1).astype(np.uint8)


def test_every_one_of_the_16_million_colors_comes_back() -> None:
    for red in range(256):
        colors = all_colors(red)
        np.testing.assert_array_equal(lab_to_srgb(srgb_to_lab(colors)), colors)


@pytest.mark.parametrize("red", [0, 1, 10, 77, 128, 200, 254, 255])
def test_agrees_with_scikit_image_within_a_hundredth(red: int) -> None:
    colors = all_colors(red)
    difference = np.abs(srgb_to_lab(colors) / UNITS - rgb2lab(colors))
    assert difference.max() < 0.01


def test_known_colors() -> None:
    # white, black, mid grey and pure red of CIE 15 / IEC 61966-2-1, to two decimals
    rgb = np.array([[255, 255, 255], [0, 0, 0], [119, 119, 119], [255, 0, 0]], np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [50.03, 0, 0], [53.24, 80.09, 67.2]]
    np.testing.assert_allclose(srgb_to_lab(rgb) / UNITS, expected, atol=0.02)


def test_colors_outside_srgb_are_clipped_not_wrapped() -> None:
    outside = np.array([[10000, 12000, 12000], [0, -12000, -12000]], np.int16)
    brought_back = lab_to_srgb(outside)
    assert brought_back[0, 0] == 255
    assert brought_back[1, 0] == 0


def test_any_shape_is_kept_and_the_argument_is_not_changed() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    before = rgb.copy()
    assert srgb_to_lab(rgb).shape == rgb.shape
    np.testing.assert_array_equal(rgb, before)
