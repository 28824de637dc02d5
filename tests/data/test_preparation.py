"""Pictures are decoded once; the cache does not change the results."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.data.depth import stored_depth
from lamina.data.filters import FilterConfig, FilterRules
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import MEMO, prepare, prepare_picture, prepare_square, read_thumbnails
from lamina.data.sources import smear
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.maths.color import srgb_to_lab
from lamina.stages.convert import convert
from lamina.stages.download import GROUP_PICTURES, download
from lamina.stages.filter import filter_pictures
from packing import voc

WHOLE = ConvertConfig(size=16, isolate="none")


def draw(folder: Path, numbers: range) -> None:
    """Different pictures of noise."""
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        (folder / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"class{number % 2}" / f"{number:04d}.png")


def deliver(tmp_path: Path) -> Path:
    config = SourceConfig(kind="folder", location="pictures")
    download(config, tmp_path, tmp_path / "raw", seed=0)
    return tmp_path / "raw"


def packs(memo: Path) -> dict[str, int]:
    """The packs of a cache by name, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in memo.glob("*/*")}


def squares(memo: Path, raw: Path, config: ConvertConfig = WHOLE) -> np.ndarray:
    prepared = prepare(raw, config, memo, what="test")
    file = io.BytesIO()
    prepared.write_squares(prepared.pictures, file)
    return np.frombuffer(file.getvalue(), "<i2").reshape(-1, config.size, config.size, 3)


def test_the_squares_are_those_of_the_pictures_one_by_one(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(GROUP_PICTURES + 9))
    raw = deliver(tmp_path)
    encoded = pd.read_parquet(raw, columns=["encoded"])["encoded"]
    expected = np.stack([srgb_to_lab(prepare_picture(one, WHOLE).square) for one in encoded])
    np.testing.assert_array_equal(squares(tmp_path / "memo", raw), expected)


@pytest.mark.parametrize("size", [8, 16, 64])  # below 32, a JPEG is decoded larger than its square needs
@pytest.mark.parametrize("isolate", ["none", "cell"])
@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("L", "PNG")])
def test_a_square_alone_is_that_of_the_pipeline(
    mode: str, kind: str, isolate: Literal["none", "cell"], size: int
) -> None:
    smeared = Image.open(io.BytesIO(next(iter(smear.pictures(13, 1))).encoded))
    file = io.BytesIO()
    smeared.resize((200, 320)).convert(mode).save(file, kind)
    for resize in ("pad", "crop", "stretch"):
        config = ConvertConfig(size=size, isolate=isolate, resize=resize)
        square, cell = prepare_square(file.getvalue(), config)
        prepared = prepare_picture(file.getvalue(), config)
        np.testing.assert_array_equal(square, prepared.square)
        assert cell == prepared.cell


def test_the_cache_is_used_again(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(70))
    raw, memo = deliver(tmp_path), tmp_path / "memo"
    before = prepare(raw, WHOLE, memo, what="test")
    made = packs(memo)
    again = prepare(raw, WHOLE, memo, what="test")
    assert packs(memo) == made
    pd.testing.assert_frame_equal(again.pictures, before.pictures)
    few = again.pictures[::-3]
    expected = read_thumbnails(before.folder, before.pictures)[::-3]
    np.testing.assert_array_equal(read_thumbnails(again.folder, few), expected)
    assert len(np.unique(expected, axis=0)) == len(few)


def test_a_new_delivery_costs_its_new_pictures_alone(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(0, 300, 3))
    memo = tmp_path / "memo"
    prepare(deliver(tmp_path), WHOLE, memo, what="test")
    old = packs(memo)
    draw(tmp_path / "pictures", range(100, 104))  # sorted in between, so every shard is another one
    raw = deliver(tmp_path)
    found = squares(memo, raw)
    new = {name for name in packs(memo) if name not in old}
    assert {name: when for name, when in packs(memo).items() if name in old} == old
    rows = sum(len(np.load(path)) for path in memo.glob("*/*.npy") if path.name in new)
    assert rows == len(set(range(100, 104)) - set(range(0, 300, 3)))
    np.testing.assert_array_equal(found, squares(tmp_path / "other", raw))


def test_few_new_pictures_among_many_shards_are_one_pack(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(0, 3 * GROUP_PICTURES))
    memo = tmp_path / "memo"
    prepare(deliver(tmp_path), WHOLE, memo, what="test")
    old = packs(memo)
    assert len(old) == 2 * 3
    for name in ("class0/0100-new.png", "class1/0101-new.png"):
        Image.new("RGB", (20, 20), (200, len(name), ord(name[5]))).save(tmp_path / "pictures" / name)
    raw = deliver(tmp_path)
    np.testing.assert_array_equal(squares(memo, raw), squares(tmp_path / "other", raw))
    assert len(packs(memo)) - len(old) == 2  # squares and facts


def test_a_pack_that_was_cut_short_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(5))
    raw, memo = deliver(tmp_path), tmp_path / "memo"
    expected = squares(memo, raw)
    (pack,) = memo.glob("*/*.npy")
    pack.write_bytes(pack.read_bytes()[:-7])
    with pytest.raises(UserError, match=f"{pack}: cut short by 7 bytes; remove it"):
        squares(memo, raw)
    pack.unlink()
    np.testing.assert_array_equal(squares(memo, raw), expected)


@pytest.mark.parametrize("lost", ["*.npy", "*.parquet"])
def test_an_incomplete_pack_is_made_again(tmp_path: Path, lost: str) -> None:
    draw(tmp_path / "pictures", range(70))
    raw, memo = deliver(tmp_path), tmp_path / "memo"
    expected = squares(memo, raw)
    next(memo.glob(f"*/{lost}")).unlink()
    np.testing.assert_array_equal(squares(memo, raw), expected)


def test_another_box_is_another_square_and_the_others_stay(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(5))
    config = SourceConfig(kind="folder", location=".", boxes="boxes")
    for number in range(5):
        (tmp_path / "boxes").mkdir(exist_ok=True)
        (tmp_path / "boxes" / f"{number:04d}.xml").write_bytes(voc(("x", 2, 2, 20, 20)))
    memo, boxed = tmp_path.parent / f"{tmp_path.name}-memo", ConvertConfig(size=16, isolate="box")
    raw = tmp_path.parent / f"{tmp_path.name}-raw"
    download(config, tmp_path, raw, seed=0)
    before = squares(memo, raw, boxed)
    changed = tmp_path / "boxes" / "0003.xml"
    changed.write_text(changed.read_text().replace("20", "30"))
    download(config, tmp_path, raw, seed=0)
    after = squares(memo, raw, boxed)
    names = list(prepare(raw, boxed, memo, what="test").pictures["name"])
    assert [name for name, same in zip(names, (before == after).all(axis=(1, 2, 3)), strict=True) if not same] == [
        "pictures/class1/0003.png"
    ]


def test_other_settings_replace_the_whole_cache(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(5))
    raw, memo = deliver(tmp_path), tmp_path / "memo"
    squares(memo, raw)
    kept = set(memo.iterdir())
    for number, settings in enumerate(
        [{"size": 8}, {"size": 8, "resize": "crop"}, {"size": 8, "isolate": "box"}], start=2
    ):
        config = ConvertConfig.model_validate({"isolate": "none"} | settings)
        assert squares(memo, raw, config).shape == (5, 8, 8, 3)
        (left,) = memo.iterdir()
        kept.add(left)
        assert len(kept) == number


def test_packs_of_removed_pictures_are_removed(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(5))
    memo = tmp_path / "memo"
    squares(memo, deliver(tmp_path))
    for path in (tmp_path / "pictures").rglob("*.png"):
        path.unlink()
    draw(tmp_path / "pictures", range(10, 12))
    squares(memo, deliver(tmp_path))
    assert [len(np.load(path)) for path in memo.glob("*/*.npy")] == [2]


def test_an_unreadable_picture_is_black_and_says_why(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(3))
    broken = tmp_path / "pictures" / "class0" / "0000.png"
    broken.write_bytes(broken.read_bytes()[:500])
    raw, memo = deliver(tmp_path), tmp_path / "memo"
    pictures = prepare(raw, WHOLE, memo, what="test").pictures
    assert pictures["error"].map(bool).tolist() == [True, False, False]
    assert not squares(memo, raw)[0].any()


def deep(folder: Path, number: int, largest: int) -> np.ndarray:
    """A 16-bit picture whose file says no depth; the first pixel has the largest value."""
    values = np.random.default_rng(number).integers(0, largest + 1, (40, 48), dtype=np.uint16)
    values[0, 0] = largest
    folder.mkdir(exist_ok=True)
    Image.fromarray(values).save(folder / f"{number}.png")
    return values


@pytest.mark.parametrize(
    ("largest", "bits"),
    [(255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16383, 14), (16384, 16), (65535, 16)],
)
def test_the_depth_is_decided_once_for_all_pictures(tmp_path: Path, largest: int, bits: int) -> None:
    """The dark frames of a camera do not jump: every picture is scaled as the brightest one."""
    frames = [deep(tmp_path / "pictures", number, top) for number, top in enumerate((largest, largest // 3, 7))]
    draw(tmp_path / "pictures", range(2))
    raw, memo = deliver(tmp_path), tmp_path / "memo"
    prepared = prepare(raw, WHOLE, memo, what="test")
    assert prepared.convert.depth == bits
    assert str(prepared.depth) == (
        f"the files of 3 pictures do not say the depth of their values, of which the largest is {largest}: "
        f"read as {bits} bits; convert.depth sets it"
    )
    found = dict(zip(prepared.pictures["name"], squares(memo, raw), strict=True))
    for number, values in enumerate(frames):
        bytes_alone = io.BytesIO()
        Image.fromarray((values >> (bits - 8)).astype(np.uint8)).save(bytes_alone, "PNG")
        expected = srgb_to_lab(prepare_picture(bytes_alone.getvalue(), WHOLE).square)
        np.testing.assert_array_equal(found[f"{number}.png"], expected)
    made = packs(memo)
    prepare(raw, WHOLE, memo, what="test")
    assert packs(memo) == made, "nothing is decoded again"
    deep(tmp_path / "pictures", 9, 65535)
    assert prepare(deliver(tmp_path), WHOLE, memo, what="test").convert.depth == 16


def test_the_stages_say_and_store_the_depth(tmp_path: Path) -> None:
    deep(tmp_path / "pictures", 0, 4000)
    draw(tmp_path / "pictures", range(2))
    raw, filtered, lab, memo = deliver(tmp_path), tmp_path / "filtered", tmp_path / "lab", tmp_path / "memo"
    filters = FilterConfig(drop_grayscale=False, min_side=1, drop_duplicates=True)
    rules = FilterRules(filter=filters, labeled=False, classes=None, boxed=False, celled=False)
    said = str(filter_pictures(rules, WHOLE, raw, filtered, memo=memo))
    assert said.startswith("kept 3 pictures, rejected 0; the files of 1 pictures do not say the depth of their values")
    convert(WHOLE, raw, filtered, lab, memo=memo)
    assert stored_depth(lab) == {"depth": 12}


def test_a_given_depth_is_used_and_values_above_it_are_refused(tmp_path: Path) -> None:
    deep(tmp_path / "pictures", 0, 4000)
    deep(tmp_path / "pictures", 1, 4096)
    draw(tmp_path / "pictures", range(2))
    prepared = prepare(deliver(tmp_path), WHOLE.model_copy(update={"depth": 12}), tmp_path / "memo", what="test")
    assert prepared.pictures["error"].tolist() == [
        "", "holds the value 4096, but 12 bits end at 4095; train with a higher convert.depth", "", "",
    ]  # fmt: skip


def test_pictures_that_say_their_depth_decide_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", range(2))
    prepared = prepare(deliver(tmp_path), WHOLE, tmp_path / "memo", what="test")
    assert prepared.depth is None
    assert prepared.convert == WHOLE


def test_a_killed_filter_resumes_with_the_missing_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(200):
        noise = Image.fromarray(rng.integers(0, 256, (640, 640, 3), dtype=np.uint8))
        (tmp_path / "pictures" / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        noise.save(tmp_path / "pictures" / f"class{number % 2}" / f"{number:04d}.jpg", quality=30)
    (tmp_path / "params.yaml").write_text(
        "seed: 1\nsource: {kind: folder, location: pictures}\n"
        "filter: {drop_grayscale: true, min_side: 1, drop_duplicates: true}\nconvert: {size: 16, isolate: none}\n"
        "split: {test: 0.3, validation: 0.15}\n"
    )
    (tmp_path / "data").mkdir()
    config = SourceConfig(kind="folder", location="pictures")
    download(config, tmp_path, tmp_path / "data" / "raw", seed=0)
    command = [sys.executable, "-m", "lamina.stages.filter"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
    memo = tmp_path / MEMO
    deadline = time.monotonic() + 60
    while not list(memo.glob("*/[0-9a-f]*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for place in memo.rglob(".part-*"):  # killed before it locked its place, which counts as new for a minute
        os.utime(place, (0, 0))
    done = packs(memo)
    kept = {name: when for name, when in done.items() if f"{Path(name).stem}.parquet" in done}
    assert kept
    assert not (tmp_path / "data" / "filtered").exists()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    after = packs(memo)
    assert {name: after[name] for name in kept if not name.startswith(".")} == {
        name: when for name, when in kept.items() if not name.startswith(".")
    }
    assert not [name for name in after if name.startswith(".")]
    np.testing.assert_array_equal(
        squares(memo, tmp_path / "data" / "raw", ConvertConfig(size=16, isolate="none")),
        squares(tmp_path / "other", tmp_path / "data" / "raw", ConvertConfig(size=16, isolate="none")),
    )
