"""The stage `filter`: no class goes without a word, and a published test part stays complete."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.data.filters import FilterConfig, FilterRules
from lamina.data.given_test import given_test
from lamina.data.pixels import ConvertConfig
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.maths.published_split import find_published_test
from lamina.maths.splits import SplitConfig
from lamina.stages.download import download
from lamina.stages.filter import FilterSummary, filter_pictures


def noise(seed: int, *, grey: bool = False) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 1 if grey else 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(3 if grey else 1, axis=2)).save(buffer, "PNG")
    return buffer.getvalue()


def filtered(system: Path, files: dict[str, bytes], *, drop_grayscale: bool = True, **rules: object) -> FilterSummary:
    for name, data in files.items():
        (system / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (system / "pictures" / name).write_bytes(data)
    config = FilterConfig(drop_grayscale=drop_grayscale, min_side=8, drop_duplicates=True)
    values = {"filter": config, "labeled": True, "classes": None, "boxed": False, "celled": False}
    source = SourceConfig.model_validate({"kind": "folder", "location": "pictures"})
    download(source, system, system / "raw", seed=1)
    return filter_pictures(
        FilterRules(**values | rules),
        ConvertConfig(size=8, isolate="none"),
        system / "raw",
        system / "filtered",
        memo=system / "memo",
    )


def test_a_class_that_is_emptied_stops_and_writes_nothing(tmp_path: Path) -> None:
    files = {f"{kind}/{number}.png": noise(number, grey=kind == "mri") for kind in ("ct", "mri") for number in range(4)}
    with pytest.raises(UserError, match=r"filter drops all 4 pictures of class 'mri' \(4 grayscale\); set filter"):
        filtered(tmp_path, files)
    assert not (tmp_path / "filtered").exists()
    assert filtered(tmp_path, files, classes=("ct",)).kept == 4
    assert filtered(tmp_path, files, labeled=False).kept == 4
    assert str(filtered(tmp_path, files, drop_grayscale=False)) == "kept 8 pictures, rejected 0"


def test_a_class_that_loses_most_pictures_is_told(tmp_path: Path) -> None:
    files = {f"ct/{number}.png": noise(number, grey=number > 0) for number in range(4)}
    files |= {f"mri/{number}.png": noise(10 + number, grey=number > 1) for number in range(4)}
    assert str(filtered(tmp_path, files)).splitlines() == [
        "kept 3 pictures, rejected 5 (5 grayscale)",
        "warning: class 'ct' keeps only 1 of 4 pictures (3 grayscale); if that is wrong, set filter.drop_grayscale to "
        "false",
    ]


def test_pictures_that_are_held_out_stay(tmp_path: Path) -> None:
    files = {f"{kind}/{number}.png": noise(number + 50 * (kind == "b")) for kind in "ab" for number in range(3)}
    files |= {"a/again.png": files["a/1.png"]}  # seen in both hospitals; the other name comes first
    site = pd.DataFrame({"site": ["B" if name == "a/again.png" else "A" for name in files]}, index=list(files))
    split = SplitConfig(test=0.3, validation=0.2, hold_out={"site": ["B"]})
    filtered(tmp_path, files, given_test=given_test(split, site))
    rejected = pd.read_parquet(tmp_path / "filtered" / "rejected.parquet")
    assert rejected["name"].tolist() == ["a/1.png"]
    assert rejected["detail"].tolist() == ["same bytes as the given test item a/again.png"]


def test_a_published_test_part_stays_complete(tmp_path: Path) -> None:
    held_out = {
        f"validation/{kind}/{number}.png": noise(number + 50 * (kind == "b")) for kind in "ab" for number in range(10)
    }
    files = {
        f"train/{kind}/{number}.png": noise(100 + number + 50 * (kind == "b")) for kind in "ab" for number in range(9)
    }
    copies = {
        f"train/{kind}/copy{number}.png": held_out[f"validation/{kind}/{number}.png"]
        for kind in "ab"
        for number in range(6)
    }
    mislabeled = {"train/a/other.png": held_out["validation/b/9.png"]}
    filtered(
        tmp_path,
        held_out | files | copies | mislabeled,
        given_test=partial(find_published_test, pattern="^validation/"),
    )
    kept = pd.read_parquet(tmp_path / "filtered" / "kept.parquet")["name"]
    assert set(kept) == {*held_out, *files}
    rejected = pd.read_parquet(tmp_path / "filtered" / "rejected.parquet").set_index("name")
    assert rejected.loc["train/a/copy1.png"].tolist() == [
        "duplicate",
        "same bytes as the given test item validation/a/1.png",
    ]
