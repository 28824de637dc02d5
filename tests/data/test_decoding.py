"""Pictures of every kind are decoded upright to 8-bit RGB, or refused with a message."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from lamina.data.decoding import decode, largest_value
from lamina.data.opening import UnreadableError, open_picture
from scans import deep_png

RED, GREEN = (200, 30, 30), (30, 160, 40)
# 48x32, red on the left and green on the right, by libheif 1.23 with x265; what reads HEIF here cannot write it
HEIF = """
    AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA
    AERAAAEAAQAAAAABoQABAAAAAAAAAGAAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADd
    aXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAA
    AwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh
    cAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAGhtZGF0AAAA
    XCgBrwng5D/OKn/8zxv/vydl7S6kqgQeVKyeIP/0dKDgXsRBCmO/CfS9dqL8SPozf4hCPlsg/Xy+ewbMtiXmtRaLS64f4OyQd6+rqD9SKEIuyp+O
    9eaAXxKXTqvA
"""


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """Red on the left, green on the right."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, GREEN
    return Image.fromarray(pixels)


def corner(encoded: bytes) -> tuple[int, ...]:
    return decode(open_picture(encoded)).getpixel((2, 2))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "PNG"),
        ("RGB", "BMP"),
        ("RGB", "TIFF"),
        ("RGB", "WEBP"),
        ("RGB", "AVIF"),
        ("RGBA", "PNG"),
        ("CMYK", "TIFF"),
    ],
)
def test_color_modes_keep_their_color(mode: str, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(halves().convert(mode), kind, **options)
    np.testing.assert_allclose(corner(encoded), RED, atol=2)


def test_heif_keeps_its_color() -> None:
    picture = decode(open_picture(base64.b64decode(HEIF)))
    assert picture.size == (48, 32)
    np.testing.assert_allclose(picture.getpixel((10, 16)), RED, atol=3)
    np.testing.assert_allclose(picture.getpixel((38, 16)), GREEN, atol=3)


def test_cmyk_jpeg_keeps_its_color() -> None:
    np.testing.assert_allclose(corner(encode(halves().convert("CMYK"), "JPEG", quality=95)), RED, atol=12)


def test_palette_keeps_its_color() -> None:
    np.testing.assert_allclose(corner(encode(halves().quantize(4), "GIF")), RED, atol=2)


def test_transparent_parts_become_white() -> None:
    clear = halves().convert("RGBA")
    clear.putalpha(0)
    assert corner(encode(clear)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "clear"), [("RGB", RED), ("L", 90), ("I;16", 0x5A00)])
def test_a_color_named_as_transparent_becomes_white(mode: str, clear: int | tuple[int, int, int]) -> None:
    picture = Image.new(mode, (8, 8), clear)
    assert corner(encode(picture)) != (255, 255, 255)
    assert corner(encode(picture, transparency=clear)) == (255, 255, 255)
    other = Image.new(mode, (8, 8), 0)
    assert corner(encode(other, transparency=clear)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("dtype", "level", "depth", "expected"),
    [
        ("uint16", 0x8000, 16, 128),
        ("uint16", 0x0080, 8, 128),
        ("uint16", 0x0200, 10, 128),
        ("uint16", 0x0800, 12, 128),
        ("uint16", 0x0800, 16, 8),  # however dark the picture is
        ("int32", 0x2000, 14, 128),
        ("int32", 128, 8, 128),
        ("float32", 0.5, 12, 128),  # floats need no depth
    ],
)
def test_deep_greys_are_scaled_by_the_depth(dtype: str, level: float, depth: int, expected: int) -> None:
    encoded = encode(Image.fromarray(np.full((8, 8), level, dtype)), "TIFF")
    assert decode(open_picture(encoded, depth)).getpixel((2, 2)) == (expected,) * 3


@pytest.mark.parametrize(
    ("dtype", "values", "message"),
    [
        ("float32", (0, 1.5), "expected float values from 0 to 1, found 0 to 1.5; scale them"),
        ("float32", (0, np.nan), "found nan to nan"),
        ("int32", (-1, 9), "expected values from 0 to 65535, found -1 to 9; scale them"),
        ("int32", (0, 70_000), "found 0 to 70000"),
        ("uint16", (0, 4096), "holds the value 4096, but 12 bits end at 4095; train with a higher convert.depth"),
    ],
)
def test_values_without_a_known_range_are_refused(dtype: str, values: tuple[float, float], message: str) -> None:
    encoded = encode(Image.fromarray(np.array([values], dtype)), "TIFF")
    with pytest.raises(UnreadableError, match=message):
        decode(open_picture(encoded, 12))


@pytest.mark.parametrize(("significant", "largest", "least"), [(12, 700, 4095), (12, 60_000, 60_000), (5, 9, 255)])
def test_the_significant_bits_of_a_png_bound_its_depth(significant: int, largest: int, least: int) -> None:
    """Its standard has them scaled to 16 bits, and cameras do not."""
    encoded = deep_png(np.array([[0, largest]]), 0, sBIT=bytes([significant]))
    assert largest_value(open_picture(encoded)) == least
    assert largest_value(open_picture(deep_png(np.array([[0, largest]]), 0))) == max(largest, 255)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: the left half comes to the top
    encoded = encode(halves(), "JPEG", exif=exif, quality=95)
    assert (open_picture(encoded).width, open_picture(encoded).height) == (20, 40)
    upright = decode(open_picture(encoded))
    assert upright.size == (20, 40)
    np.testing.assert_allclose(upright.getpixel((10, 5)), RED, atol=12)
    np.testing.assert_allclose(upright.getpixel((10, 35)), GREEN, atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_every_orientation_has_its_size_and_its_place(kind: str, orientation: int) -> None:
    """Pillow turns a TIFF itself while it loads it, and other formats not."""
    picture, exif = halves(), Image.Exif()
    picture.paste((0, 0, 200), (0, 0, 9, 5))
    exif[0x0112] = orientation
    opened = open_picture(encode(picture, kind, exif=exif))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encode(picture, exif=exif))))
    assert (opened.width, opened.height) == expected.size
    np.testing.assert_array_equal(decode(opened), expected)


def test_reduced_decoding_is_the_same_picture_smaller() -> None:
    small = decode(open_picture(encode(halves(640, 480), "JPEG", quality=95)), least=0.2)
    assert small.size == (160, 120)
    np.testing.assert_allclose(small.getpixel((5, 5)), RED, atol=6)


def test_a_truncated_jpeg_is_unreadable() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    encoded = encode(noise, "JPEG")
    with pytest.raises(UnreadableError, match="truncated"):
        decode(open_picture(encoded[: len(encoded) // 2]))


@pytest.mark.parametrize("content", [b"", b"not a picture", b"<html><body>404</body></html>", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        decode(open_picture(content))


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO"])
def test_other_formats_are_refused(kind: str) -> None:
    encoded = encode(halves(), kind)
    Image.open(io.BytesIO(encoded))  # Pillow opens it
    with pytest.raises(UnreadableError, match=r"not a picture in a known format \(AVIF, BMP, DICOM, GIF"):
        open_picture(encoded)


def test_jpegs_of_several_pictures_show_the_first() -> None:
    encoded = encode(halves(), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 20))], quality=95)
    np.testing.assert_allclose(corner(encoded), RED, atol=12)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableError, match="30000x30000 is more than 178,956,970 pixels"):
        open_picture(bomb)


def test_a_single_pixel_is_a_picture() -> None:
    assert decode(open_picture(encode(Image.new("RGB", (1, 1), RED)))).size == (1, 1)
