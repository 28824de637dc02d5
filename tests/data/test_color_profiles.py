"""Color profiles in files are applied, at every depth; without one, nothing changes."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000, rgb2lab

from lamina.data.decoding import decode, read_layers
from lamina.data.opening import open_picture
from lamina.data.preparation import prepare_picture
from scans import WHOLE, deep_png, encode, gamma_profile, waves

COLORS = np.dstack([waves(), waves()[::-1] // 2, waves()[:, ::-1]])
LINEAR = gamma_profile(1.0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def compress(linear: np.ndarray) -> np.ndarray:
    """sRGB values, 0 to 1, of linear light (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def littlecms(colors: np.ndarray, profile: bytes) -> np.ndarray:
    given, wanted = (ImageCms.ImageCmsProfile(io.BytesIO(one)) for one in (profile, SRGB))
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(colors), given, wanted))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_profile_is_applied_in_every_format(kind: str) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(kind, {})
    encoded = encode(COLORS, kind, icc_profile=LINEAR, **options)
    found = np.asarray(decode(open_picture(encoded)))
    expected = np.rint(255 * compress(COLORS / 255))
    error = deltaE_ciede2000(rgb2lab(found), rgb2lab(expected / 255))
    assert error.mean() < (1 if kind == "JPEG" else 0.2)
    without = np.asarray(decode(open_picture(encode(COLORS, kind, **options))))
    assert deltaE_ciede2000(rgb2lab(without), rgb2lab(expected / 255)).mean() > 10


def test_the_pipeline_and_the_coloring_see_the_same() -> None:
    encoded = encode(COLORS, icc_profile=LINEAR)
    layers = read_layers(open_picture(encoded))
    np.testing.assert_array_equal(layers.colors, decode(open_picture(encoded)))
    np.testing.assert_allclose(layers.colors.astype(int), littlecms(COLORS, LINEAR), atol=1)
    plain = prepare_picture(encode(layers.colors), WHOLE).square
    np.testing.assert_array_equal(prepare_picture(encoded, WHOLE).square, plain)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_a_profile_is_applied_in_every_mode(mode: str) -> None:
    picture = Image.fromarray(waves() if mode in ("L", "LA") else COLORS)
    picture = picture.quantize(64) if mode == "P" else picture.convert(mode)
    found = np.asarray(decode(open_picture(encode(picture, icc_profile=LINEAR))))
    np.testing.assert_allclose(found.astype(int), littlecms(np.asarray(picture.convert("RGB")), LINEAR), atol=1)


@pytest.mark.parametrize("kind", [0, 2, 4])
def test_a_profile_is_applied_to_16_bits(kind: int) -> None:
    greys = waves(top=65535)
    values = {0: greys, 2: COLORS.astype(int) * 257, 4: np.dstack([greys, np.full_like(greys, 65535)])}[kind]
    compressed = b"p\0\0" + zlib.compress(LINEAR)
    found = read_layers(open_picture(deep_png(values, kind, iCCP=compressed)))
    shown = values[..., :1] if kind == 4 else values
    expected = 65535 * compress(shown / 65535)
    np.testing.assert_allclose(found.colors, np.broadcast_to(expected, found.colors.shape), atol=40)
    assert found.colors.dtype == np.uint16
    assert not found.unused_profile


@pytest.mark.parametrize("profile", [SRGB, b"none", gamma_profile(1.0).replace(b"RGB ", b"CMYK")], ids=len)
def test_srgb_and_what_cannot_be_used_change_nothing(profile: bytes) -> None:
    opened = open_picture(encode(COLORS, icc_profile=profile))
    np.testing.assert_array_equal(decode(opened), COLORS)
    assert read_layers(open_picture(encode(COLORS, icc_profile=profile))).unused_profile is (profile != SRGB)


def test_bands_are_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pictures are converted some rows at a time."""
    picture = Image.fromarray(COLORS).convert("RGBA")
    picture.putalpha(Image.fromarray(waves()))
    for encoded in (encode(picture, icc_profile=LINEAR), deep_png(COLORS.astype(int) * 200, 2)):
        whole = decode(open_picture(encoded))
        monkeypatch.setattr("lamina.data.decoding._BAND", 7 * picture.width)
        np.testing.assert_array_equal(decode(open_picture(encoded)), whole)
        monkeypatch.undo()
