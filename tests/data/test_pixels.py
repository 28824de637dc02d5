"""Squares: their region, their size, and the pixels beyond the picture."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lamina.data.pixels import BOX_MARGIN, Box, ConvertConfig, Resize, square_around, whole_picture
from lamina.data.preparation import prepare_picture


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def cut_square(encoded: bytes, size: int, box: Box | None = None, resize: Resize = "pad") -> np.ndarray:
    config = ConvertConfig(size=size, isolate="none" if box is None else "box", resize=resize)
    return prepare_picture(encoded, config, [] if box is None else [box]).square


def gradient(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.full_like(x, 128)], axis=-1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 48), st.sampled_from(["pad", "crop", "stretch"]))
def test_any_picture_becomes_a_square_of_its_own_colors(width: int, height: int, size: int, resize: Resize) -> None:
    pixels = gradient(width, height)
    square = cut_square(png(pixels), size, resize=resize)
    assert square.shape == (size, size, 3)
    assert square.dtype == np.uint8
    assert abs(int(square[..., 2].min()) - 128) <= 1
    assert abs(int(square[..., 2].max()) - 128) <= 1


def test_shrinking_averages_areas() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    square = cut_square(png(np.stack([checks] * 3, axis=-1)), 16)
    assert set(np.unique(square)) <= {127, 128}


def test_the_short_side_is_filled_with_the_nearest_pixels() -> None:
    wide = np.full((20, 80, 3), 200)
    wide[0], wide[-1] = (255, 0, 0), (0, 0, 255)
    square = cut_square(png(wide), 80)
    np.testing.assert_array_equal(square[:30], np.broadcast_to([255, 0, 0], (30, 80, 3)))
    np.testing.assert_array_equal(square[50:], np.broadcast_to([0, 0, 255], (30, 80, 3)))
    np.testing.assert_array_equal(square[31:49], wide[1:-1])


@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_is_the_middle_and_a_stretch_is_all_of_it(turned: bool) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (20, 80, 3))
    encoded = png(wide.swapaxes(0, 1) if turned else wide)
    crop, stretch = (cut_square(encoded, 20, resize=resize) for resize in ("crop", "stretch"))
    if turned:
        crop, stretch = crop.swapaxes(0, 1), stretch.swapaxes(0, 1)
    np.testing.assert_array_equal(crop, wide[:, 30:50])
    np.testing.assert_allclose(stretch, wide.reshape(20, 20, 4, 3).mean(axis=2), atol=1)


def test_the_same_size_is_the_same_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    np.testing.assert_array_equal(cut_square(png(pixels), 32), pixels)


def test_a_box_is_cut_out_with_its_margin() -> None:
    pixels = np.zeros((100, 120, 3))
    pixels[40:60, 50:70] = 255
    square = cut_square(png(pixels), 24, (50, 40, 70, 60))
    bright = np.argwhere(square[..., 0] > 127)
    assert bright.min() == round(20 * BOX_MARGIN)
    assert bright.max() == 24 - 1 - round(20 * BOX_MARGIN)


def test_a_box_at_the_edge_is_filled_with_the_nearest_pixels() -> None:
    pixels = np.full((60, 60, 3), 90)
    pixels[:10, :10] = 250
    square = cut_square(png(pixels), 24, (0, 0, 20, 20))
    assert (square[:8, :8] == 250).all()
    assert (square[16:, 16:] == 90).all()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (119, 99, 120, 100), (-20, -20, 160, 120)])
def test_extreme_boxes_give_squares(box: tuple[int, int, int, int]) -> None:
    assert cut_square(png(gradient(120, 100)), 16, box).shape == (16, 16, 3)


def test_regions_are_square_and_centered() -> None:
    assert whole_picture(40, 20) == (0, -10, 40, 40)
    assert whole_picture(40, 20, "crop") == (10, 0, 20, 20)
    assert whole_picture(40, 20, "stretch") == (0, 0, 40, 20)
    assert square_around((10, 10, 30, 20)) == (8, 3, 24, 24)


def test_jpeg_at_reduced_scale_is_near_the_full_decode() -> None:
    file = io.BytesIO()
    picture = Image.fromarray(gradient(640, 480).astype(np.uint8))
    picture.save(file, "JPEG", quality=95)
    square = cut_square(file.getvalue(), 64).astype(int)[8:56]
    reference = np.asarray(picture.resize((64, 48), Image.Resampling.BOX)).astype(int)
    assert np.abs(square - reference).mean() < 2
