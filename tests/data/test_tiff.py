"""TIFF files are read by their tags: planes, channels, photometric interpretation, pages, bits and transparency."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from skimage.color import deltaE_cie76, rgb2lab
from tifffile import TiffWriter, imread, imwrite

from lamina.data.decoding import decode, largest_value, read_layers
from lamina.data.opening import UnreadableError, open_picture
from scans import waves

COLORS = np.dstack([waves(top=65535), waves(top=65535)[::-1] // 2, waves(top=65535)[:, ::-1]])
GREY = waves(top=65535)


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    imwrite(file, values, **options)
    return file.getvalue()


def shown(encoded: bytes, depth: int = 16) -> np.ndarray:
    return np.asarray(decode(open_picture(encoded, depth)))


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colors_of_16_bits_are_those_of_the_file(planar: str, byteorder: str, compression: str | None) -> None:
    values = np.moveaxis(COLORS, -1, 0) if planar == "separate" else COLORS
    options = {"photometric": "rgb", "planarconfig": planar, "byteorder": byteorder, "compression": compression}
    encoded = tiff(np.ascontiguousarray(values), **options)
    found = shown(encoded)
    np.testing.assert_array_equal(found, COLORS >> 8)
    reference = imread(io.BytesIO(encoded))
    reference = np.moveaxis(reference, 0, -1) if planar == "separate" else reference
    assert deltaE_cie76(rgb2lab(found), rgb2lab(reference)).max() < 1
    np.testing.assert_array_equal(read_layers(open_picture(encoded)).colors, COLORS)


@pytest.mark.parametrize("tiled", [{}, {"tile": (32, 32)}, {"bigtiff": True}])
def test_planes_in_tiles_and_large_files_are_read(tiled: dict[str, Any]) -> None:
    values = np.ascontiguousarray(np.moveaxis(COLORS, -1, 0))
    encoded = tiff(values, photometric="rgb", planarconfig="separate", **tiled)
    np.testing.assert_array_equal(shown(encoded), COLORS >> 8)


@pytest.mark.parametrize(("dtype", "depth"), [("uint8", 8), ("uint16", 16), ("uint16", 12)])
def test_where_zero_is_white_greys_are_inverted(dtype: str, depth: int) -> None:
    stored = (GREY >> (16 - depth)).astype(dtype)
    found = shown(tiff(stored, photometric="miniswhite"), depth)
    expected = 255 - (GREY >> 8).astype(int)
    np.testing.assert_array_equal(found, np.dstack([expected] * 3))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_bits_per_sample_are_the_depth(bits: int) -> None:
    stored = GREY[:16, :16] >> (16 - bits)
    packed = np.packbits((stored[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).ravel()).tobytes()
    file = io.BytesIO()
    with TiffWriter(file) as writer:
        writer.write(
            iter([packed]),
            shape=(16, 16),
            dtype=np.uint16,
            bitspersample=bits,
            photometric="minisblack",
            rowsperstrip=16,
        )
    found = open_picture(file.getvalue(), depth=16)
    np.testing.assert_array_equal(np.asarray(decode(found))[..., 0], stored >> (bits - 8))


def test_the_significant_bits_of_ome_are_the_depth() -> None:
    stored = GREY >> 4
    file = io.BytesIO()
    with TiffWriter(file, ome=True) as writer:
        writer.write(stored, photometric="minisblack", metadata={"axes": "YX", "SignificantBits": 12})
    found = open_picture(file.getvalue(), depth=16)
    np.testing.assert_array_equal(np.asarray(decode(found))[..., 0], stored >> 4)
    assert largest_value(found) == 0, "the file says its depth"


def test_smaller_copies_and_masks_are_no_pages() -> None:
    file = io.BytesIO()
    with TiffWriter(file) as writer:
        writer.write(COLORS[::2, ::2], photometric="rgb", subfiletype=1)
        writer.write(COLORS, photometric="rgb")
        writer.write(GREY > 0, photometric="minisblack", subfiletype=4)
    np.testing.assert_array_equal(shown(file.getvalue()), COLORS >> 8)
    file = io.BytesIO()
    with TiffWriter(file) as writer:
        writer.write(GREY[::2, ::2].astype(np.uint8), photometric="minisblack", subfiletype=1)
        writer.write((GREY >> 8).astype(np.uint8), photometric="minisblack")
    np.testing.assert_array_equal(shown(file.getvalue())[..., 0], GREY >> 8)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.stack([GREY] * 3), {"photometric": "minisblack"}, "3 pages; save each picture as a file of its own"),
        (np.stack([GREY] * 3).astype(np.uint8), {"photometric": "minisblack"}, "3 pages; save each"),
        (
            np.stack([GREY] * 3), {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX"}},
            "3 pages with the axes CYX; save each picture as a file of its own",
        ),
        (
            np.dstack([COLORS, COLORS]), {"photometric": "minisblack", "planarconfig": "contig"},
            "6 channels that its tags do not name; save it as grey or RGB",
        ),
        (COLORS, {"photometric": "minisblack", "planarconfig": "contig"}, "3 channels that its tags do not name"),
        (COLORS, {"photometric": "cielab"}, "a TIFF of 16 bits in CIELAB; save it as grey or RGB"),
        (GREY.astype(np.complex64), {"photometric": "minisblack"}, "a TIFF of complex numbers"),
        (
            np.stack([GREY] * 16), {"photometric": "minisblack", "volumetric": True, "tile": (16, 16, 16)},
            "a volume of 16 slices; save each as a file of its own",
        ),
    ],
)  # fmt: skip
def test_what_no_tag_explains_is_refused(values: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        decode(open_picture(tiff(values, **options)))


@pytest.mark.parametrize(
    ("kind", "opaque"), [("unassalpha", True), ("assocalpha", True), ("unspecified", False)], ids=str
)
def test_an_extra_channel_is_what_its_tag_says(kind: str, opaque: bool) -> None:
    alpha = np.linspace(20_000, 65_535, GREY.size).reshape(GREY.shape).astype(np.uint16)
    stored = (COLORS * (alpha[..., None] / 65535)).round().astype(np.uint16) if kind == "assocalpha" else COLORS
    found = read_layers(open_picture(tiff(np.dstack([stored, alpha]), photometric="rgb", extrasamples=[kind])))
    np.testing.assert_allclose(found.colors.astype(int), COLORS, atol=2)
    if opaque:
        np.testing.assert_array_equal(found.alpha, alpha)
    else:
        assert found.alpha is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiles_far_larger_than_the_picture_are_refused(dtype: str) -> None:
    encoded = bytearray(tiff(GREY[:16, :16].astype(dtype), photometric="minisblack", tile=(16, 16), byteorder="<"))
    for tag in (322, 323):  # width and length of a tile
        place = encoded.index(tag.to_bytes(2, "little"))
        encoded[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 2**16)
    with pytest.raises(UnreadableError, match=r"16x16 takes [48],\d+ MiB to decode"):
        open_picture(bytes(encoded))


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_to_deep_values(orientation: int) -> None:
    encoded = tiff(COLORS, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    opened = open_picture(encoded)
    expected = np.rot90(COLORS, {3: 2, 6: -1}[orientation])
    assert (opened.height, opened.width) == expected.shape[:2]
    np.testing.assert_array_equal(shown(encoded), expected >> 8)
