"""Originals of `lamina colorize`: read and written at their own depth."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from lamina.data.opening import UnreadableError
from lamina.data.originals import FLAT, inside_square, read_original, write_original
from lamina.data.pixels import ConvertConfig, cut_square, whole_picture
from lamina.data.preparation import prepare_picture
from lamina.maths.color import lab_to_srgb
from lamina.maths.gamut import lightness
from scans import SIZE, WHOLE, deep_png, encode, gamma_profile, lab_tiff, waves


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (50, 3), (31, 32), (33, 32), (64, 48), (100, 64), (1, 400)])
def test_the_square_without_its_edges_is_the_picture(shape: tuple[int, int]) -> None:
    """A picture that is white but for the first and last line of each side, which the square's edges would repeat."""
    width, height = shape
    rows, columns = inside_square(width, height, SIZE, whole_picture(width, height))
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    square = cut_square(Image.fromarray(pixels), SIZE, whole_picture(width, height))
    inside = square[rows, columns]
    assert 0 < inside.size <= square.size
    padding = [(span.start, SIZE - span.stop) for span in (rows, columns)]
    np.testing.assert_array_equal(np.pad(inside, (*padding, (0, 0)), mode="edge"), square)
    assert abs(inside.shape[0] / SIZE - height / max(shape)) <= 1 / SIZE
    assert abs(inside.shape[1] / SIZE - width / max(shape)) <= 1 / SIZE


@pytest.mark.parametrize(
    "encoded",
    [
        encode(waves()),
        encode(waves(), "JPEG"),
        encode(waves(), "TIFF"),
        encode(waves(20, 12)),
        encode(Image.fromarray(waves()).convert("1")),
        encode(Image.fromarray(waves()).convert("CMYK"), "TIFF"),
        encode(Image.fromarray(waves()).quantize(6), "GIF"),
        encode(Image.merge("LA", [Image.fromarray(waves()), Image.fromarray(waves()[::-1].copy())])),
        encode(waves(top=65535)),
        encode(waves().astype(np.int32), "TIFF"),
        encode(Image.fromarray(waves()), transparency=128),
    ],
)
def test_the_square_is_what_the_stage_convert_makes(encoded: bytes) -> None:
    expected = prepare_picture(encoded, ConvertConfig(size=SIZE, isolate="none")).square
    # which decodes JPEG no larger than it needs
    np.testing.assert_allclose(
        read_original(encoded, WHOLE).square, expected, atol=3 if encoded[:2] == b"\xff\xd8" else 0
    )


def test_a_stretched_square_shows_nothing_but_the_picture() -> None:
    encoded = encode(waves(90, 30))
    original = read_original(encoded, WHOLE.model_copy(update={"resize": "stretch"}))
    expected = prepare_picture(encoded, ConvertConfig(size=SIZE, isolate="none", resize="stretch")).square
    np.testing.assert_array_equal(original.square, expected)
    assert original.square[original.inside].shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_the_largest_value_of_the_depth_is_white(kind: str, depth: int) -> None:
    grey = waves(top=(1 << depth) - 1).astype(np.uint16)
    found = read_original(encode(grey, kind), WHOLE.model_copy(update={"depth": depth}))
    np.testing.assert_allclose(found.pixels, grey * (65535 / ((1 << depth) - 1)), atol=1)
    assert found.square.max() == pytest.approx(found.pixels.max() >> 8, abs=1), "the network sees it as bright"


def test_colors_and_greys_with_transparency_are_scaled_alike() -> None:
    grey, opaque = waves(top=4095), np.full((60, 90), 65535)
    twelve = WHOLE.model_copy(update={"depth": 12})
    full = grey << 4 | grey >> 8
    np.testing.assert_array_equal(
        read_original(deep_png(np.dstack([grey] * 3), 2), twelve).pixels, np.dstack([full] * 3)
    )
    told = read_original(deep_png(np.dstack([grey, opaque]), 4), twelve)  # which come as three channels alike
    named = read_original(deep_png(grey, 0, tRNS=int(grey[7, 7]).to_bytes(2, "big")), twelve)
    np.testing.assert_array_equal(told.pixels[..., 0], full)
    np.testing.assert_array_equal(named.pixels, full)
    np.testing.assert_array_equal(named.alpha, np.where(grey == grey[7, 7], 0, 65535))


@pytest.mark.parametrize(
    ("odd", "found"),
    [(1.5, "0.2 to 1.5"), (-0.25, "-0.25 to 0.8"), (np.nan, "nan to nan"), (1e9, "0.2 to 1e.09")],
)
def test_other_float_values_are_refused_in_one_line(odd: float, found: str) -> None:
    values = np.tile(np.float32([0.2, 0.8]), (8, 4))
    values[3, 2] = odd
    with pytest.raises(UnreadableError, match=f"expected float values from 0 to 1, found {found}; scale them$"):
        read_original(encode(values, "TIFF"), WHOLE)


def test_lab_tiffs_are_read() -> None:
    colors = cv2.GaussianBlur(np.random.default_rng(0).integers(60, 200, (60, 90, 3)).astype(np.uint8), (0, 0), 4)
    found = read_original(lab_tiff(colors), WHOLE)
    assert found.notes == ("already in color, recolored from its lightness",)
    # scikit-image brings no white to D50, which only tints: lightness is what counts
    assert np.abs(lightness(found.pixels) - lightness(colors)).mean() < 0.5
    greys = read_original(lab_tiff(np.dstack([waves()] * 3)), WHOLE)
    assert np.abs(lightness(greys.pixels) - lightness(waves())).max() < 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colors_are_turned_as_pillow_turns_bytes(orientation: int) -> None:
    """What OpenCV reads, for Pillow would cut it to 8 bits: PNG."""
    colors = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow = read_original(encode(colors, exif=exif), WHOLE)
    deep = read_original(deep_png(colors.astype(int) * 257, 2, eXIf=exif.tobytes().removeprefix(b"Exif\0\0")), WHOLE)
    np.testing.assert_array_equal(deep.pixels, shallow.pixels.astype(np.uint16) * 257)


def test_deep_transparency_is_read_in_every_form() -> None:
    grey = waves(top=65535)
    scan = read_original(deep_png(np.dstack([grey, grey[::-1]]), 4), WHOLE)
    np.testing.assert_array_equal(scan.pixels, np.dstack([grey] * 3))
    np.testing.assert_array_equal(scan.alpha, grey[::-1])
    colors = np.dstack([grey, grey // 2, grey[::-1]])
    named = read_original(deep_png(colors, 2, tRNS=colors[7, 7].astype(">u2").tobytes()), WHOLE)
    np.testing.assert_array_equal(named.pixels, colors)
    np.testing.assert_array_equal(named.alpha == 0, (colors == colors[7, 7]).all(axis=-1))
    named = read_original(deep_png(grey, 0, tRNS=int(grey[7, 7]).to_bytes(2, "big")), WHOLE)
    np.testing.assert_array_equal(named.alpha, np.where(grey == grey[7, 7], 0, 65535))


def test_the_profile_of_srgb_and_one_that_is_none_change_nothing() -> None:
    plain, profile = waves(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    same = read_original(encode(Image.fromarray(plain).convert("RGB"), icc_profile=profile.tobytes()), WHOLE)
    np.testing.assert_array_equal(same.pixels, np.dstack([plain] * 3))
    assert same.notes == ()
    broken = read_original(encode(plain, icc_profile=b"none"), WHOLE)
    np.testing.assert_array_equal(broken.pixels, plain)
    assert broken.notes == ("color profile not used, read as sRGB",)


def test_a_profile_changes_the_lightness_as_it_says() -> None:
    plain = Image.fromarray(waves()).convert("RGB")
    linear_light = read_original(encode(plain, icc_profile=gamma_profile(1.0)), WHOLE)
    light = waves() / 255.0
    expected = np.where(light > 0.008856, 116 * np.cbrt(light) - 16, 903.3 * light)
    assert np.abs(lightness(linear_light.pixels) - expected).max() < 0.5
    assert linear_light.notes == ()
    transparent = plain.copy()
    transparent.putalpha(77)
    found = read_original(encode(transparent, icc_profile=gamma_profile(1.0)), WHOLE)
    np.testing.assert_array_equal(found.pixels, linear_light.pixels)
    assert (found.alpha == 77).all()


def test_a_format_that_holds_less_is_noted(tmp_path: Path) -> None:
    deep = read_original(cv2.imencode(".png", np.full((5, 5, 4), 40000, np.uint16))[1].tobytes(), WHOLE)
    notes = write_original(np.zeros((5, 5, 3), np.uint8), deep, tmp_path / "a.jpg")
    assert notes == [
        "written with 8 bits per channel, fewer than the original has",
        "written without transparency, which the format cannot store",
    ]


def ramp(size: int = 32) -> np.ndarray:
    """(size, size, 3) uint8: from green to red at one lightness."""
    lab = np.zeros((size, size, 3), np.int16)
    lab[..., 0], lab[..., 1] = 5500, np.linspace(-2000, 2000, size).astype(np.int16)
    return lab_to_srgb(lab)


@pytest.mark.parametrize(
    ("pixels", "flat"),
    [
        (np.full((40, 40), 99, np.uint8), True),
        (np.full((40, 40), 99, np.uint8) + np.eye(40, dtype=np.uint8), True),
        (np.full((40, 40), 99, np.uint8) + 9 * np.eye(40, dtype=np.uint8), False),
        (np.dstack([np.full((40, 40), 99, np.uint8), np.arange(1600).reshape(40, 40).astype(np.uint8)]), True),
        (ramp(), True),
        (np.pad(np.full((200, 200), 99, np.uint8), ((0, 1), (0, 1)), constant_values=200), False),
    ],
    ids=["flat", "noise", "line", "alpha", "color", "edge"],
)
def test_a_picture_without_contrast_in_its_lightness_is_noted(pixels: np.ndarray, flat: bool) -> None:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    assert (FLAT in read_original(written.getvalue(), WHOLE).notes) == flat
