"""Lightness and sRGB at any depth."""

from typing import Any

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.maths.gamut import lightness, paint


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_grey_comes_back_without_chroma(kind: Any, channels: int) -> None:
    greys = np.arange(np.iinfo(kind).max + 1, dtype=kind).reshape(-1, 64)
    told = greys if channels == 1 else np.dstack([greys] * 3)
    out = np.empty((*greys.shape, 3), kind)
    paint(lightness(told), np.zeros((2, *greys.shape), np.float32), out)
    np.testing.assert_array_equal(out, np.dstack([greys] * 3))


def test_lightness_is_that_of_the_stored_pixels_and_of_scikit_image() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert np.abs(lightness(colors) - srgb_to_lab(colors)[..., 0] / 100).max() < 0.006
    assert np.abs(lightness(colors) - rgb2lab(colors)[..., 0]).max() < 0.01
    assert np.abs(lightness(colors.astype(np.uint16) * 257) - lightness(colors)).max() < 1e-4


def test_what_srgb_holds_is_painted_as_it_is() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    lab = srgb_to_lab(colors).astype(np.float32) / 100
    out = np.empty_like(colors)
    paint(lab[..., 0], np.moveaxis(lab[..., 1:], -1, 0), out)
    np.testing.assert_array_equal(out, lab_to_srgb(srgb_to_lab(colors)))
    deep = np.empty(colors.shape, np.uint16)
    paint(lab[..., 0], np.moveaxis(lab[..., 1:], -1, 0), deep)
    assert np.abs(deep / 65535 - lab2rgb(lab)).max() < 2e-3  # their matrices differ in the fourth digit


def test_what_srgb_does_not_hold_keeps_its_lightness_and_loses_chroma() -> None:
    draw = np.random.default_rng(0)
    light = draw.uniform(0, 100, (64, 64)).astype(np.float32)
    chroma = draw.normal(0, 60, (2, 64, 64)).astype(np.float32)
    out = np.empty((64, 64, 3), np.uint16)
    paint(light, chroma, out)
    assert np.abs(lightness(out) - light).max() < 0.01
    by_channel = lightness(lab_to_srgb((np.dstack([light, *chroma]) * 100).round().astype(np.int16)))
    assert np.abs(by_channel - light).max() > 10, "clipping each channel would not do"
    touches = (out == 0).any(axis=-1) | (out == 65535).any(axis=-1)
    assert 0.2 < touches.mean() < 0.9
    found = rgb2lab(out / 65535)
    before, after = np.hypot(*chroma), np.hypot(found[..., 1], found[..., 2])
    assert (after <= before + 0.1).all()
