"""Sheets of the filter show the right pictures in the right rows."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.data.filter_sheets import CLASSES, PICTURES, near_duplicates
from lamina.data.filters import FilterConfig, FilterRules
from lamina.data.pixels import ConvertConfig
from lamina.stages.filter import filter_pictures

SQUARE = 126  # pixels of a square picture on a sheet
COLORS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 200)}


def encoded(color: tuple[int, int, int], seed: int, side: int = 48) -> bytes:
    """A picture of one main color, with blocks unlike those of any other seed."""
    blocks = np.random.default_rng(seed).normal(0, 12, (4, 4, 1)).repeat(side // 4, 0).repeat(side // 4, 1)
    file = io.BytesIO()
    Image.fromarray(np.clip(blocks + color, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_raw(raw: Path, files: dict[str, bytes]) -> None:
    """Write pictures as `download` does, in row groups of four; their folders are their labels."""
    rows = [
        {
            "id": f"{number:016x}", "name": name, "label": name.split("/")[0], "label_count": 1, "origin": name,
            "boxes": [], "sha256": hashlib.sha256(content).hexdigest(), "encoded": content,
        }
        for number, (name, content) in enumerate(sorted(files.items()))
    ]  # fmt: skip
    raw.mkdir()
    table = pd.DataFrame(rows)
    table.to_parquet(raw / "part-00000.parquet", row_group_size=4)


def filter_files(
    folder: Path, files: dict[str, bytes], classes: tuple[str, ...] | None = None, *, merge: bool = True
) -> Path:
    config = FilterConfig(drop_grayscale=True, min_side=32, drop_duplicates=True, merge_near_duplicates=merge)
    write_raw(folder / "raw", files)
    rules = FilterRules(filter=config, labeled=True, classes=classes, boxed=False, celled=False)
    size = ConvertConfig(size=32, isolate="none")
    filter_pictures(rules, size, folder / "raw", folder / "filtered", memo=folder / "memo")
    return folder / "filtered"


def tiles(sheet: Path, color: tuple[int, int, int]) -> int:
    """How many square pictures of about this color a sheet shows."""
    pixels = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    strongest = int(np.argmax(color))
    others = np.delete(pixels, strongest, axis=2).max(axis=2)
    return round((pixels[..., strongest] > others + 60).sum() / SQUARE**2)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {f"red/{n:02d}.png": encoded(COLORS["red"], n) for n in range(11)}
    files |= {f"green/{n:02d}.png": encoded(COLORS["green"], 50 + n) for n in range(3)}
    files |= {f"blue/{n:02d}.png": encoded(COLORS["blue"], 70 + n, side=16) for n in range(5)}
    files["blue/large.png"] = encoded((160, 160, 30), 90)  # yellow, so that it is not counted as one of the small ones
    files |= {"green/x.png": b"no picture", "red/again.png": files["red/00.png"]}
    return filter_files(tmp_path_factory.mktemp("sheets"), files)


def test_kept_pictures_are_shown_by_class_up_to_a_full_row(filtered: Path) -> None:
    assert tiles(filtered / "kept.png", COLORS["red"]) == PICTURES < 11
    assert tiles(filtered / "kept.png", COLORS["green"]) == 3
    assert tiles(filtered / "kept.png", COLORS["blue"]) == 0, "too small"


def test_rejected_pictures_are_shown_by_reason(filtered: Path) -> None:
    assert set(pd.read_parquet(filtered / "rejected.parquet")["reason"]) == {"unreadable", "too small", "duplicate"}
    with Image.open(filtered / "rejected.png") as sheet:
        assert 3 * SQUARE < sheet.height < 4 * SQUARE + 150, "three rows, one a reason"
    assert tiles(filtered / "rejected.png", COLORS["red"]) == 1, "the duplicate"
    assert tiles(filtered / "rejected.png", COLORS["blue"]) == 5, "the small ones"


def test_without_near_duplicates_or_rejected_pictures_there_is_no_sheet(tmp_path: Path) -> None:
    files = {f"red/{n:02d}.png": encoded(COLORS["red"], n) for n in range(4)}
    out = filter_files(tmp_path, files)
    assert sorted(path.name for path in out.iterdir()) == [
        "groups.parquet", "kept.parquet", "kept.png", "rejected.parquet",
    ]  # fmt: skip
    assert pd.read_parquet(out / "groups.parquet").empty


def test_near_duplicates_are_listed_with_the_origin_they_share_and_shown(tmp_path: Path) -> None:
    files = {f"red/{n:02d}.png": encoded(COLORS["red"], n) for n in range(4)}
    with Image.open(io.BytesIO(files["red/02.png"])) as picture:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=95)
    out = filter_files(tmp_path, files | {"green/twin.jpg": file.getvalue()})
    groups, kept = pd.read_parquet(out / "groups.parquet"), pd.read_parquet(out / "kept.parquet")
    assert groups["name"].tolist() == ["green/twin.jpg", "red/02.png"]
    assert groups["group"].tolist() == [1, 1]
    assert groups["origin"].tolist() == ["green/twin.jpg"] * 2
    assert kept.set_index("id")["origin"][groups["id"]].tolist() == groups["origin"].tolist()
    assert tiles(out / "groups.png", COLORS["red"]) == 2
    (tmp_path / "apart").mkdir()
    apart = filter_files(tmp_path / "apart", files | {"green/twin.jpg": file.getvalue()}, merge=False)
    assert pd.read_parquet(apart / "groups.parquet").empty
    assert pd.read_parquet(apart / "kept.parquet")["origin"].is_unique


def test_the_same_pictures_give_the_same_sheets(tmp_path: Path, filtered: Path) -> None:
    raw = pd.read_parquet(filtered.parent / "raw" / "part-00000.parquet")
    again = filter_files(tmp_path, dict(zip(raw["name"], raw["encoded"], strict=True)))
    for path in filtered.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_sheets_of_many_classes_are_bounded(tmp_path: Path) -> None:
    files = {f"class {n:02d}/a.png": encoded(COLORS["red"], n) for n in range(CLASSES + 5)}
    out = filter_files(tmp_path, files)
    assert tiles(out / "kept.png", COLORS["red"]) == CLASSES


def test_groups_of_one_are_not_listed() -> None:
    kept = pd.DataFrame({"id": list("abcde"), "name": list("vwxyz"), "origin": list("ppqqr")})
    listed = near_duplicates(kept, np.array([7, 2, 7, 4, 4]))
    assert listed[["group", "id", "place"]].to_numpy().tolist() == [[1, "a", 0], [1, "c", 2], [2, "d", 3], [2, "e", 4]]
