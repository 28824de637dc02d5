"""`lamina colorize`: any picture comes out in color, at its full size and depth and with its own lightness."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from skimage.color import rgb2lab

from finished import finished_record, run_settings, write_params
from lamina import cli
from lamina.commands.colorize import plan
from lamina.data.originals import read_original
from lamina.errors import UserError
from lamina.maths.gamut import lightness
from scans import SIZE, WHOLE, by_hand, encode, linear, read_deep, saved, waves

CONVERT = {"size": SIZE, "resize": "pad", "isolate": "none", "no_cell": "drop"}
RUNS = {
    **dict.fromkeys(["tint", "untrained", "broken"], run_settings("colorizer")),
    "namer": run_settings("network"),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lamina.models.saving import save_model

    folder = tmp_path_factory.mktemp("system")
    write_params(folder, RUNS, convert=CONVERT)
    for run, network in {"tint": linear(), "broken": linear(a=(float("nan"), 0))}.items():
        (folder / "models" / run).mkdir(parents=True)
        save_model(saved(network), folder / "models" / run / "model.keras")
        finished_record(run, RUNS[run], width=SIZE).write(folder / "models" / run / "record.json")
    return folder


@pytest.fixture
def call(system: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def called(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["colorize", "--system", str(system), *map(str, arguments)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return called


def test_what_a_crop_would_cut_off_is_colored_as_well(system: Path, call: Any, tmp_path: Path) -> None:
    Image.fromarray(waves(200, 40)).save(tmp_path / "wide.png")
    told = {}
    for resize in ("crop", "stretch"):
        other = shutil.copytree(system, tmp_path / resize)
        write_params(other, RUNS, convert=CONVERT | {"resize": resize})
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


def test_a_twelve_bit_scan_comes_out_bright_and_says_so(call: Any, tmp_path: Path) -> None:
    Image.fromarray(waves(top=4095)).save(tmp_path / "scan.tif")
    code, _, said = call(tmp_path / "scan.tif", "--run", "tint", "--out", tmp_path / "out")
    assert code == 0
    assert said == (
        "note: the files of 1 pictures do not say the depth of their values, of which the largest is 3276: "
        "read as 12 bits; convert.depth sets it\n"
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
    original = read_original(encode(values, "TIFF"), WHOLE)
    np.testing.assert_array_equal(original.square, read_original(encode(waves(top=65535)), WHOLE).square)


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


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_deep_colors_are_replaced_and_stay_deep(call: Any, tmp_path: Path, kind: str) -> None:
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


def test_every_note_is_a_line(call: Any, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    red = np.dstack([waves(), waves() // 3, waves() // 3])
    Image.fromarray(red).save(given / "red.png")
    Image.fromarray(red[::-1]).save(given / "red2.png")
    Image.fromarray(np.full((9, 9), 99, np.uint8)).save(given / "flat.png")
    pages = [Image.fromarray(waves()), Image.fromarray(waves()[::-1])]
    pages[0].save(given / "pages.tiff", save_all=True, append_images=pages[1:])
    pages[0].save(given / "frames.webp", save_all=True, append_images=pages[1:])
    pages[0].save(given / "still.gif")
    (given / "none.png").write_bytes(b"not a picture")
    code, out, said = call(given, "--run", "tint", "--out", tmp_path / "out")
    assert code == 1
    assert out.splitlines()[-1] == f"{tmp_path / 'out'}: 5 pictures colored"
    lines = said.splitlines()
    assert f"note: no contrast, colored anyway: 1, '{given / 'flat.png'}'" in lines
    assert f"note: several frames, only the first is colored: 1, '{given / 'frames.webp'}'" in lines
    assert f"{given / 'pages.tiff'}: unreadable: 2 pages; save each picture as a file of its own" in lines
    assert f"note: written as PNG, since the format holds no color: 1, '{given / 'still.gif'}'" in lines
    anew = f"note: already in color, recolored from its lightness: 2, '{given / 'red.png'}', '{given / 'red2.png'}'"
    assert anew in lines
    assert [line for line in lines if line.startswith(f"{given / 'none.png'}: unreadable: not a picture")]
    assert len(lines) == 6
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["flat.png", "frames.webp", "red.png", "red2.png", "still.png"]
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


def test_an_output_above_or_next_to_the_pictures_is_fine(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(waves()).save(tmp_path / "in" / "a.png")
    assert plan([tmp_path / "in"], tmp_path)[0].target == tmp_path / "a.png"
    assert plan([tmp_path / "in" / "a.png"], tmp_path / "in" / "out")[0].target == tmp_path / "in" / "out" / "a.png"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--run", "namer"],
            "run 'namer' has the task classify, but this command needs colorize; runs that do: tint, untrained",
        ),
        (["--run", "nobody"], "params.yaml: there is no run 'nobody'; known: tint, "),
        (["--run", "untrained"], "record.json: not found; run `dvc repro train@untrained`"),
        (["--run", "broken"], "colorizer: its colors are not finite numbers; train the run again"),
        (["--run", "tint", "--strength", "2.1"], "--strength: expected a number from 0 to 2, got 2.1"),
        (["--run", "tint", "--strength", "-0.1"], "--strength: expected a number from 0 to 2, got -0.1"),
        (["--run", "tint", "--strength", "nan"], "--strength: expected a number from 0 to 2, got nan"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(call: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    Image.fromarray(waves()).save(tmp_path / "a.png")
    code, _, error = call(tmp_path / "a.png", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_model_for_another_size_is_refused(system: Path, call: Any, tmp_path: Path) -> None:
    folder = system / "models" / "untrained"
    folder.mkdir()
    finished_record("untrained", RUNS["untrained"], width=SIZE + 1).write(folder / "record.json")
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


def test_a_picture_that_its_format_cannot_hold_is_named_and_the_others_are_colored(call: Any, tmp_path: Path) -> None:
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
