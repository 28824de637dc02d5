"""`lamina colorize`: any picture comes out in color, at its full size and depth and with its own lightness.

The network of these tests is one whose answer can be said by hand: a and b are straight lines of L.
"""

import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from skimage.color import lab2rgb, rgb2lab

from lamina import cli
from lamina.commands.colorize import plan
from lamina.data.decoding import UnreadableError
from lamina.data.originals import FLAT, inside_square, read_original, write_original
from lamina.data.pixels import cut_square, whole_picture
from lamina.data.preparation import ConvertConfig, prepare_picture
from lamina.errors import UserError
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.maths.gamut import lightness, paint
from lamina.tasks.colorize.full_size import colorize, enlarge

SIZE = 32
A, B = (0.3, -5.0), (-0.2, 14.0)  # what the network says: slope and start over L, never beyond sRGB for middling greys

PARAMS = """\
seed: 1
convert: {{size: {size}, isolate: none}}
colorize:
  runs:
    tint: &run {{backbone: small_cnn, weights: none, watch: src/lamina/__init__.py, preprocess: native, decoder: unet,
      loss: mse, encoder: trainable, epochs: 1, batch_size: 8, learning_rate: 1e-3, dropout: 0.0, decay: 1e-4}}
    untrained: *run
    broken: *run
scratch:
  runs:
    namer: {{network: small_cnn, epochs: 1, batch_size: 8, learning_rate: 1e-3, dropout: 0.0, decay: 0.0}}
"""


def linear(a: tuple[float, float] = A, b: tuple[float, float] = B) -> Any:
    """A network that says a = a[0] L + a[1], and b alike."""
    from lamina.models.keras_runtime import keras

    light = keras.Input((SIZE, SIZE, 1))
    convolution = keras.layers.Conv2D(2, 1)
    model = keras.Model(light, convolution(light), name="linear")
    convolution.set_weights([np.array([[[[a[0], b[0]]]]], np.float32), np.array([a[1], b[1]], np.float32)])
    return model


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lamina.models.saving import save_model

    folder = tmp_path_factory.mktemp("system")
    (folder / "params.yaml").write_text(PARAMS.format(size=SIZE))
    for run, model in {"tint": linear(), "broken": linear(a=(float("nan"), 0))}.items():
        (folder / "models" / run).mkdir(parents=True)
        save_model(model, folder / "models" / run / "model.keras")
        (folder / "models" / run / "record.json").write_text(json.dumps({"classes": [], "size": SIZE}))
    return folder


@pytest.fixture(scope="module")
def model() -> Any:
    return linear()


@pytest.fixture
def call(system: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def called(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["colorize", "--system", str(system), *map(str, arguments)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return called


def waves(width: int = 90, height: int = 60, top: int = 255) -> np.ndarray:
    """Greys from a fifth to four fifths of the top."""
    rows, columns = np.mgrid[:height, :width]
    values = 0.5 + 0.3 * np.sin(columns / 9) * np.cos(rows / 7)
    return (values * top).round().astype(np.uint8 if top == 255 else np.uint16)


def encode(picture: Any, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def deep_png(values: np.ndarray, kind: int, **more: bytes) -> bytes:
    """A 16-bit PNG of a color type of its standard (0 grey, 2 RGB, 4 grey with alpha), with further chunks."""

    def chunk(name: str, body: bytes) -> bytes:
        named = name.encode() + body
        return struct.pack(">I", len(body)) + named + struct.pack(">I", zlib.crc32(named))

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = chunk("IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    told = b"".join(chunk(name, body) for name, body in more.items())
    return b"\x89PNG\r\n\x1a\n" + header + told + chunk("IDAT", zlib.compress(lines)) + chunk("IEND", b"")


def by_hand(light: np.ndarray, strength: float = 1.0) -> np.ndarray:
    return np.stack([light, *(strength * (slope * light + start) for slope, start in (A, B))], axis=-1)


def colored(model: Any, encoded: bytes, strength: float = 1.0) -> np.ndarray:
    original = read_original(encoded, SIZE)
    return next(colorize(model, [original], [original.pixels.dtype], strength))


def read_deep(path: Path) -> np.ndarray:
    """What a file holds, in RGB(A) at its own depth, by another reader than Pillow."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return found[..., [2, 1, 0, *range(3, found.shape[2])]]


# lightness and sRGB


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


# color at full size


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


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (90, 90), (20, 12), (33, 32), (300, 7), (5, 200), (1, 1)])
def test_any_size_gets_the_color_of_its_network(model: Any, shape: tuple[int, int]) -> None:
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


def test_a_chessboard_of_color_without_lightness_is_bilinear() -> None:
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
    originals = [read_original(encode(waves(90, 60 + 7 * n)), SIZE) for n in range(5)]
    depth = np.dtype(np.uint8)
    together = list(colorize(model, originals, [depth] * 5))
    for original, found in zip(originals, together, strict=True):
        alone = next(colorize(model, [original], [depth]))
        assert np.abs(alone.astype(int) - found).max() <= 1


# reading and writing


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
        read_original(encoded, SIZE).square, expected, atol=3 if encoded[:2] == b"\xff\xd8" else 0
    )


def test_a_stretched_square_shows_nothing_but_the_picture() -> None:
    encoded = encode(waves(90, 30))
    original = read_original(encoded, SIZE, "stretch")
    expected = prepare_picture(encoded, ConvertConfig(size=SIZE, isolate="none", resize="stretch")).square
    np.testing.assert_array_equal(original.square, expected)
    assert original.square[original.inside].shape == (SIZE, SIZE, 3)


def test_what_a_crop_would_cut_off_is_colored_as_well(system: Path, model: Any, call: Any, tmp_path: Path) -> None:
    Image.fromarray(waves(200, 40)).save(tmp_path / "wide.png")
    told = {}
    for resize in ("crop", "stretch"):
        other = shutil.copytree(system, tmp_path / resize)
        params = (other / "params.yaml").read_text()
        (other / "params.yaml").write_text(params.replace("isolate: none", f"isolate: none, resize: {resize}"))
        code, _, _ = call(
            "--system", other, tmp_path / "wide.png", "--run", "tint", "--out", tmp_path / f"{resize}-out"
        )
        assert code == 0
        told[resize] = (tmp_path / f"{resize}-out" / "wide.png").read_bytes()
    assert told["crop"] == told["stretch"]
    with Image.open(tmp_path / "crop-out" / "wide.png") as picture:
        found = rgb2lab(np.asarray(picture))
    expected = by_hand(lightness(waves(200, 40)).astype(np.float64))
    assert np.abs(found - expected).mean() < 0.5


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_deep_scan_comes_out_deep_with_its_lightness(call: Any, tmp_path: Path, kind: str) -> None:
    grey = waves(top=65535)
    Image.fromarray(grey).save(tmp_path / f"scan.{kind}")
    assert call(tmp_path / f"scan.{kind}", "--run", "tint", "--out", tmp_path / "out")[0] == 0
    found = read_deep(tmp_path / "out" / f"scan.{kind}")
    assert found.dtype == np.uint16
    assert found.shape == (60, 90, 3)
    assert np.abs(lightness(found) - lightness(grey)).max() < 0.002, "a step of 8 bits would be 0.4"
    assert np.ptp(found, axis=2).max() > 2000


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("white", [4095, 3000, 1000])
def test_twelve_bits_in_sixteen_are_brought_to_all(kind: str, white: int) -> None:
    grey = np.minimum(waves(top=4095), white)
    found = read_original(encode(grey, kind), SIZE)
    np.testing.assert_allclose(found.pixels, grey * (65535 / 4095), atol=1)
    assert found.notes == ("12-bit values in 16 bits, none above 4095, which is read as white",)
    assert found.square.max() == pytest.approx(found.pixels.max() >> 8, abs=1), "the network sees it as bright"


def test_only_greys_of_more_than_eight_and_at_most_twelve_bits_are_of_twelve() -> None:
    grey = waves(top=4095)
    for other, notes in ((np.where(grey == grey.max(), 4096, grey), ()), (grey >> 4, (FLAT,))):
        found = read_original(encode(other.astype(np.uint16)), SIZE)
        np.testing.assert_array_equal(found.pixels, other)
        assert found.notes == notes
    colors = np.dstack([grey, grey // 2, grey])
    np.testing.assert_array_equal(read_original(deep_png(colors, 2), SIZE).pixels, colors)


def test_twelve_bits_beside_transparency_are_brought_to_all() -> None:
    grey, opaque = waves(top=4095), np.full((60, 90), 65535)
    told = read_original(deep_png(np.dstack([grey, opaque]), 4), SIZE)  # which come as three channels alike
    named = read_original(deep_png(grey, 0, tRNS=int(grey[7, 7]).to_bytes(2, "big")), SIZE)
    assert told.pixels.max() == named.pixels.max() == int(grey.max()) << 4 | int(grey.max()) >> 8
    np.testing.assert_array_equal(named.alpha, np.where(grey == grey[7, 7], 0, 65535))


def test_a_twelve_bit_scan_comes_out_bright_and_says_so(call: Any, tmp_path: Path) -> None:
    Image.fromarray(waves(top=4095)).save(tmp_path / "scan.tif")
    code, _, said = call(tmp_path / "scan.tif", "--run", "tint", "--out", tmp_path / "out")
    place = tmp_path / "scan.tif"
    assert (code, said) == (
        0,
        f"note: 12-bit values in 16 bits, none above 4095, which is read as white: 1, '{place}'\n",
    )
    found = read_deep(tmp_path / "out" / "scan.tif")
    assert np.abs(lightness(found) - lightness(waves(top=65535))).max() < 0.05


def test_float_values_from_0_to_1_come_out_deep(call: Any, tmp_path: Path) -> None:
    values = waves(top=65535).astype(np.float32) / np.float32(65535)
    Image.fromarray(values).save(tmp_path / "scan.tif")
    code, _, said = call(tmp_path / "scan.tif", "--run", "tint", "--out", tmp_path / "out")
    assert code == 0
    assert said.startswith("note: float values, 0 read as black and 1 as white, written with 16 bits: 1, ")
    found = read_deep(tmp_path / "out" / "scan.tif")
    assert found.dtype == np.uint16
    assert np.abs(lightness(found) - lightness(waves(top=65535))).max() < 0.002
    original = read_original(encode(values, "TIFF"), SIZE)
    np.testing.assert_array_equal(original.square, read_original(encode(waves(top=65535)), SIZE).square)


@pytest.mark.parametrize(
    ("odd", "found"),
    [(1.5, "0.2 to 1.5"), (-0.25, "-0.25 to 0.8"), (np.nan, "nan to nan"), (1e9, "0.2 to 1e.09")],
)
def test_other_float_values_are_refused_in_one_line(odd: float, found: str) -> None:
    values = np.tile(np.float32([0.2, 0.8]), (8, 4))
    values[3, 2] = odd
    with pytest.raises(UnreadableError, match=f"expected float values from 0 to 1, found {found}; scale them$"):
        read_original(encode(values, "TIFF"), SIZE)


def lab_tiff(colors: np.ndarray) -> bytes:
    """An 8-bit CIELAB TIFF as TIFF 6.0 lays it out (section 23; D50), from scikit-image's conversion."""
    lab = rgb2lab(colors, illuminant="D50")
    stored = np.dstack([lab[..., 0] * 255 / 100, lab[..., 1:] % 256]).round().astype(np.uint8)
    height, width = colors.shape[:2]
    bits_at = 8 + 2 + 12 * 9 + 4
    longs = {256: width, 257: height, 259: 1, 262: 8, 273: bits_at + 6, 277: 3, 278: height, 279: stored.nbytes}
    entries = [(tag, 4, 1, value) for tag, value in longs.items()]
    entries.insert(2, (258, 3, 3, bits_at))
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return header + body + bytes(4) + struct.pack("<HHH", 8, 8, 8) + stored.tobytes()


def test_lab_tiffs_are_read() -> None:
    colors = cv2.GaussianBlur(np.random.default_rng(0).integers(60, 200, (60, 90, 3)).astype(np.uint8), (0, 0), 4)
    found = read_original(lab_tiff(colors), SIZE)
    assert found.notes == ("already in color, recolored from its lightness",)
    # scikit-image brings no white to D50, which only tints: lightness is what counts
    assert np.abs(lightness(found.pixels) - lightness(colors)).mean() < 0.5
    greys = read_original(lab_tiff(np.dstack([waves()] * 3)), SIZE)
    assert np.abs(lightness(greys.pixels) - lightness(waves())).max() < 0.5


def test_a_tiff_of_another_kind_is_refused_in_one_line() -> None:
    done, deep = cv2.imencode(".tif", np.full((8, 8, 3), 0.5, np.float32))
    assert done
    with pytest.raises(UnreadableError, match="a TIFF of a kind that is not read; save it with 8 or 16 bits, grey"):
        read_original(deep.tobytes(), SIZE)


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp", "bmp"])
def test_eight_bits_come_out_as_eight(call: Any, tmp_path: Path, kind: str) -> None:
    Image.fromarray(waves()).save(tmp_path / f"a.{kind}", **({"lossless": True} if kind == "webp" else {}))
    code, _, said = call(tmp_path / f"a.{kind}", "--run", "tint", "--out", tmp_path / "out")
    assert (code, said) == (0, "")
    with Image.open(tmp_path / "out" / f"a.{kind}") as picture:
        assert picture.mode == "RGB"
        assert picture.format == Image.registered_extensions()[f".{kind}"]
        found = np.asarray(picture)
    lossy = kind in ("jpg", "webp")
    assert np.abs(lightness(found) - lightness(waves())).mean() < (1.0 if lossy else 0.15)
    expected = by_hand(lightness(waves()).astype(np.float64))
    assert np.abs(rgb2lab(found) - expected).mean() < (1.5 if lossy else 0.5)


def test_orientation_is_applied_and_not_written_again(call: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(waves()).save(tmp_path / "a.png", exif=exif)
    assert call(tmp_path / "a.png", "--run", "tint", "--out", tmp_path / "out")[0] == 0
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.size == (60, 90)
        assert picture.getexif().get(0x0112) is None
        found = lightness(np.asarray(picture))
    assert np.abs(found - lightness(np.rot90(waves(), -1))).max() < 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colors_are_turned_as_pillow_turns_bytes(orientation: int) -> None:
    """What OpenCV reads, for Pillow would cut it to 8 bits: PNG."""
    colors = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow = read_original(encode(colors, exif=exif), 8)
    deep = read_original(deep_png(colors.astype(int) * 257, 2, eXIf=exif.tobytes().removeprefix(b"Exif\0\0")), 8)
    np.testing.assert_array_equal(deep.pixels, shallow.pixels.astype(np.uint16) * 257)


def test_deep_transparency_is_read_however_it_is_told() -> None:
    grey = waves(top=65535)
    scan = read_original(deep_png(np.dstack([grey, grey[::-1]]), 4), SIZE)
    np.testing.assert_array_equal(scan.pixels, np.dstack([grey] * 3))
    np.testing.assert_array_equal(scan.alpha, grey[::-1])
    colors = np.dstack([grey, grey // 2, grey[::-1]])
    named = read_original(deep_png(colors, 2, tRNS=colors[7, 7].astype(">u2").tobytes()), SIZE)
    np.testing.assert_array_equal(named.pixels, colors)
    np.testing.assert_array_equal(named.alpha == 0, (colors == colors[7, 7]).all(axis=-1))
    named = read_original(deep_png(grey, 0, tRNS=int(grey[7, 7]).to_bytes(2, "big")), SIZE)
    np.testing.assert_array_equal(named.alpha, np.where(grey == grey[7, 7], 0, 65535))


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_deep_colors_are_colored_anew_and_stay_deep(call: Any, tmp_path: Path, kind: str) -> None:
    colors = np.dstack([waves(top=65535), waves(top=65535) // 2, waves(top=65535)[::-1], waves(top=65535)])
    cv2.imwrite(str(tmp_path / f"a.{kind}"), colors[..., [2, 1, 0, 3]])
    code, _, said = call(tmp_path / f"a.{kind}", "--run", "tint", "--out", tmp_path / "out")
    assert (code, said) == (
        0,
        f"note: already in color, recolored from its lightness: 1, '{tmp_path / f'a.{kind}'}'\n",
    )
    found = read_deep(tmp_path / "out" / f"a.{kind}")
    assert np.abs(lightness(found[..., :3]) - lightness(colors[..., :3])).max() < 0.01
    np.testing.assert_array_equal(found[..., 3], colors[..., 3])


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparency_is_kept(call: Any, tmp_path: Path, mode: str) -> None:
    alpha = waves()[::-1].copy()
    picture = Image.fromarray(waves()).convert("RGB")
    picture.putalpha(Image.fromarray(alpha))
    kind = "tiff" if mode == "PA" else "png"
    picture.convert(mode).save(tmp_path / f"a.{kind}")
    assert call(tmp_path / f"a.{kind}", "--run", "tint", "--out", tmp_path / "out")[0] == 0
    with Image.open(tmp_path / "out" / f"a.{kind}") as found:
        assert found.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(found.getchannel("A")), alpha)


def test_the_profile_of_srgb_and_one_that_is_none_change_nothing() -> None:
    plain, profile = waves(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    same = read_original(encode(Image.fromarray(plain).convert("RGB"), icc_profile=profile.tobytes()), SIZE)
    np.testing.assert_array_equal(same.pixels, np.dstack([plain] * 3))
    assert same.notes == ()
    broken = read_original(encode(plain, icc_profile=b"none"), SIZE)
    np.testing.assert_array_equal(broken.pixels, plain)
    assert broken.notes == ("color profile not used, read as sRGB",)


def gamma_profile(gamma: float) -> bytes:
    """A display profile of sRGB's primaries under a plain power curve, as ICC.1:2001 lays it out."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    name = b"power\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.4360747, 0.2225045, 0.0139322),
        b"gXYZ": xyz(0.3850649, 0.7168786, 0.0971045),
        b"bXYZ": xyz(0.1430804, 0.0606169, 0.7141733),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    table, data, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", offset + len(data), len(content))
        data += content
    size = offset + len(data)
    white = struct.pack(">iii", 63190, 65536, 54061)
    header = struct.pack(">I4xI4s4s4s12s4s", size, 0x02100000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp")
    header = header.ljust(68, b"\0") + white
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def test_a_profile_changes_the_lightness_as_it_says() -> None:
    plain = Image.fromarray(waves()).convert("RGB")
    linear_light = read_original(encode(plain, icc_profile=gamma_profile(1.0)), SIZE)
    light = waves() / 255.0
    expected = np.where(light > 0.008856, 116 * np.cbrt(light) - 16, 903.3 * light)
    assert np.abs(lightness(linear_light.pixels) - expected).max() < 0.5
    assert linear_light.notes == ()
    transparent = plain.copy()
    transparent.putalpha(77)
    found = read_original(encode(transparent, icc_profile=gamma_profile(1.0)), SIZE)
    np.testing.assert_array_equal(found.pixels, linear_light.pixels)
    assert (found.alpha == 77).all()


def test_a_format_that_holds_less_is_told_of(tmp_path: Path) -> None:
    deep = read_original(cv2.imencode(".png", np.full((5, 5, 4), 40000, np.uint16))[1].tobytes(), SIZE)
    notes = write_original(np.zeros((5, 5, 3), np.uint8), deep, tmp_path / "a.jpg")
    assert notes == [
        "written with 8 bits per channel, fewer than the original has",
        "written without transparency, which the format cannot store",
    ]


# the command


def test_everything_that_people_should_know_is_a_line(call: Any, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    red = np.dstack([waves(), waves() // 3, waves() // 3])
    Image.fromarray(red).save(given / "red.png")
    Image.fromarray(red[::-1]).save(given / "red2.png")
    Image.fromarray(np.full((9, 9), 99, np.uint8)).save(given / "flat.png")
    pages = [Image.fromarray(waves()), Image.fromarray(waves()[::-1])]
    pages[0].save(given / "pages.tiff", save_all=True, append_images=pages[1:])
    pages[0].save(given / "still.gif")
    (given / "none.png").write_bytes(b"not a picture")
    code, out, said = call(given, "--run", "tint", "--out", tmp_path / "out")
    assert code == 1
    assert out.splitlines()[-1] == f"{tmp_path / 'out'}: 5 pictures colored"
    lines = said.splitlines()
    assert f"note: no contrast, colored anyway: 1, '{given / 'flat.png'}'" in lines
    assert f"note: several pages or frames, only the first is colored: 1, '{given / 'pages.tiff'}'" in lines
    assert f"note: written as PNG, since the format holds no color: 1, '{given / 'still.gif'}'" in lines
    anew = f"note: already in color, recolored from its lightness: 2, '{given / 'red.png'}', '{given / 'red2.png'}'"
    assert anew in lines
    assert [line for line in lines if line.startswith(f"{given / 'none.png'}: unreadable: not a picture")]
    assert len(lines) == 5
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["flat.png", "pages.tiff", "red.png", "red2.png", "still.png"]
    with Image.open(tmp_path / "out" / "red.png") as picture:
        assert np.abs(lightness(np.asarray(picture)) - lightness(red)).max() < 0.5
        assert np.abs(np.asarray(picture).astype(int) - red).mean() > 10


def test_the_tree_is_kept_and_what_is_there_is_skipped(call: Any, tmp_path: Path) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    (given / "deep" / "er").mkdir(parents=True)
    (given / ".hidden").mkdir()
    for place in ("a.png", "deep/b.jpg", "deep/er/a.png", ".hidden/c.png", "._a.png"):
        Image.fromarray(waves()).save(given / place)
    assert call(given, "--run", "tint", "--out", out)[:2] == (0, f"{out}: 3 pictures colored\n")
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["a.png", "deep/b.jpg", "deep/er/a.png"]
    (out / "deep" / "b.jpg").unlink()
    (out / "a.png").write_text("mine")
    code, said, _ = call(given, "--run", "tint", "--out", out)
    assert (code, said) == (0, f"{out}: 2 were there already; --force writes them again\n{out}: 1 pictures colored\n")
    assert (out / "a.png").read_text() == "mine"
    assert call(given, "--run", "tint", "--out", out, "--force")[:2] == (0, f"{out}: 3 pictures colored\n")
    assert (out / "a.png").read_bytes() != b"mine"


def test_the_same_picture_is_the_same_bytes(call: Any, tmp_path: Path) -> None:
    Image.fromarray(waves()).save(tmp_path / "a.png")
    for out in ("one", "two"):
        call(tmp_path / "a.png", "--run", "tint", "--out", tmp_path / out)
    assert (tmp_path / "one" / "a.png").read_bytes() == (tmp_path / "two" / "a.png").read_bytes()


def test_two_pictures_for_one_file_are_refused_before_anything_is_written(call: Any, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.fromarray(waves()).save(tmp_path / folder / "a.png")
    Image.fromarray(waves()).save(tmp_path / "one" / "b.png")
    out = tmp_path / "out"
    code, _, said = call(tmp_path / "one", tmp_path / "two", "--run", "tint", "--out", out)
    one, two = tmp_path / "one" / "a.png", tmp_path / "two" / "a.png"
    assert code == 2
    assert said == f"error: {out / 'a.png'}: would be made of both {one} and {two}; color them into two folders\n"
    assert not out.exists()
    Image.fromarray(waves()).save(tmp_path / "one" / "a.gif")
    assert call(tmp_path / "one", "--run", "tint", "--out", out)[0] == 2
    assert [job.source for job in plan([one, one], out)] == [one]


@pytest.mark.parametrize(
    ("paths", "out"),
    [
        (["in"], "in"),
        (["in"], "in/colored"),
        (["in/a.png"], "in"),
        (["in/c.gif"], "in"),
        (["in/in"], "in"),
        (["in"], "link"),
        (["in/in/b.png", "in/a.png"], "in/in/.."),
    ],
)
def test_an_output_among_the_pictures_is_refused(paths: list[str], out: str, tmp_path: Path) -> None:
    (tmp_path / "in" / "in" / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for place in ("in/a.png", "in/in/b.png", "in/in/in/b.png"):
        Image.fromarray(waves()).save(tmp_path / place)
    Image.fromarray(waves()).save(tmp_path / "in" / "c.gif")  # of which would become c.png
    with pytest.raises(UserError, match="would be among the pictures that are colored; give another folder"):
        plan([tmp_path / path for path in paths], tmp_path / out)


def test_an_output_above_or_beside_the_pictures_is_fine(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(waves()).save(tmp_path / "in" / "a.png")
    assert plan([tmp_path / "in"], tmp_path)[0].target == tmp_path / "a.png"
    assert plan([tmp_path / "in" / "a.png"], tmp_path / "in" / "out")[0].target == tmp_path / "in" / "out" / "a.png"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--run", "namer"],
            "run 'namer' learned classes (kind scratch), not colors; runs that color: tint, untrained",
        ),
        (["--run", "nobody"], "params.yaml: no run 'nobody'; there are: "),
        (["--run", "untrained"], "record.json: not found; train the run first"),
        (["--run", "broken"], "linear: its colors are not finite numbers; train the run again"),
        (["--run", "tint", "--strength", "2.1"], "--strength: expected a number from 0 to 2, got 2.1"),
        (["--run", "tint", "--strength", "-0.1"], "--strength: expected a number from 0 to 2, got -0.1"),
        (["--run", "tint", "--strength", "nan"], "--strength: expected a number from 0 to 2, got nan"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    Image.fromarray(waves()).save(tmp_path / "a.png")
    code, _, error = call(tmp_path / "a.png", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_kind_is_refused(system: Path, call: Any, tmp_path: Path) -> None:
    folder = system / "models" / "untrained"
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps({"classes": [], "size": SIZE + 1}))
    (folder / "model.keras").write_bytes((system / "models" / "tint" / "model.keras").read_bytes())
    Image.fromarray(waves()).save(tmp_path / "a.png")
    code, _, said = call(tmp_path / "a.png", "--run", "untrained", "--out", tmp_path / "out")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert code == 2
    assert "expected a network from (n, 33, 33, 1) to (n, 33, 33, 2), found (None, 32, 32, 1)" in said


def test_an_interruption_leaves_nothing_half_written(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    for number in range(3):
        Image.fromarray(waves()).save(given / f"{number}.png")
    save, saved = Image.Image.save, []

    def interrupted(picture: Image.Image, path: Path, *arguments: Any, **options: Any) -> None:
        saved.append(path)
        save(picture, path, *arguments, **options)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    assert call(given, "--run", "tint", "--out", out)[0] == 130
    assert [path.name for path in out.iterdir()] == ["0.png"]
    monkeypatch.undo()
    code, said, _ = call(given, "--run", "tint", "--out", out)
    assert (code, said) == (0, f"{out}: 1 were there already; --force writes them again\n{out}: 2 pictures colored\n")


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
    assert (FLAT in read_original(written.getvalue(), 16).notes) == flat


def test_what_its_format_cannot_hold_is_told_and_the_others_are_colored(call: Any, tmp_path: Path) -> None:
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    Image.fromarray(np.tile(waves()[:1, :16], (1, 1100))).save(given / "a.webp", "PNG")  # wider than WebP goes
    Image.fromarray(waves()).save(given / "b.png")
    code, told, said = call(given, "--run", "tint", "--out", out)
    assert code == 1
    assert f"{given / 'a.webp'}: cannot be written: " in said
    assert "1 pictures colored" in told
    assert [path.name for path in out.iterdir()] == ["b.png"]


def test_nothing_to_do_needs_no_network(
    system: Path, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(waves()).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("mine")
    monkeypatch.delattr("lamina.tasks.colorize.full_size.load_colorizer")
    assert call(tmp_path / "a.png", "--run", "tint", "--out", tmp_path / "out")[0] == 0


def test_of_a_png_only_the_pixels_are_written(call: Any, tmp_path: Path) -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "of the original")
    Image.fromarray(waves()).save(tmp_path / "a.png", pnginfo=told, dpi=(300, 300))
    call(tmp_path / "a.png", "--run", "tint", "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.info == {}
