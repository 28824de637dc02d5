"""Pictures of a fixed camera: different ones stay apart, real near duplicates are joined."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lamina.data.audit import SAME_PICTURE, describe_pictures, same_content_bounds, same_content_pairs
from lamina.data.duplicates import ENOUGH, MEAN_LEVELS, WORST_LEVELS, find_bounds, near_duplicate_groups
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import THUMBNAIL, Prepared, prepare_picture
from lamina.errors import UserError
from lamina.maths.color import srgb_to_lab
from lamina.maths.splits import SplitConfig
from lamina.stages.split import split

SIDE = 256
COUNT, COPIES = 120, 12
CLASSES = ("scratch", "dent", "good")


def scene(random: np.random.Generator) -> Image.Image:
    """A part on a ground with texture, as one camera sees it in every picture."""
    ground = random.integers(90, 150, (SIDE // 4, SIDE // 4, 3)).astype(np.uint8)
    picture = Image.fromarray(ground).resize((SIDE, SIDE), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(8))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((48, 64, 208, 192), 20, fill=(176, 178, 182), outline=(70, 72, 80), width=5)
    for hole in ((80, 96), (176, 96), (80, 160), (176, 160)):
        pen.ellipse((hole[0] - 9, hole[1] - 9, hole[0] + 9, hole[1] + 9), fill=(40, 42, 46))
    return picture


def shot(place: int, random: np.random.Generator, ground: Image.Image) -> Image.Image:
    """A picture of the scene with the flaw of its class, in its own light and with the noise of a sensor."""
    picture = ground.copy()
    pen, label = ImageDraw.Draw(picture), CLASSES[place % len(CLASSES)]
    x, y = random.integers(70, 170), random.integers(80, 160)
    if label == "scratch":
        pen.line((x, y, x + random.integers(20, 60), y + random.integers(-20, 20)), fill=(235, 236, 238), width=4)
    if label == "dent":
        pen.ellipse((x, y, x + random.integers(10, 24), y + random.integers(10, 24)), fill=(120, 122, 128))
    pixels = np.asarray(picture) + random.normal(0, 0.5) + random.normal(0, 2, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=quality)
    return file.getvalue()


@pytest.fixture(scope="module")
def prepared() -> list[Prepared]:
    """Pictures of a fixed camera, then copies of the first ones, encoded again, every second smaller."""
    random = np.random.default_rng(8)
    ground = scene(random)
    shots = [shot(place, random, ground) for place in range(COUNT)]
    files = [encoded(one, 92) for one in shots]
    for place in range(COPIES):
        copy = Image.open(io.BytesIO(files[place]))
        files.append(encoded(copy.resize((192, 192), Image.Resampling.LANCZOS) if place % 2 else copy, 85))
    return [prepare_picture(one, ConvertConfig(size=128, isolate="none")) for one in files]


@pytest.fixture(scope="module")
def thumbnails(prepared: list[Prepared]) -> np.ndarray:
    small = (one.small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR) for one in prepared)
    return np.stack([np.asarray(one) for one in small])


@pytest.fixture(scope="module")
def converted(prepared: list[Prepared]) -> tuple[pd.DataFrame, np.ndarray]:
    """The manifest and the pixels of the stage `convert`."""
    ids = [f"{digest:016x}" for digest in np.random.default_rng(3).integers(0, 2**62, len(prepared))]
    labels = [CLASSES[place % len(CLASSES)] for place in (*range(COUNT), *range(COPIES))]
    table = pd.DataFrame({"id": ids, "origin": ids, "label": labels, "name": [f"{one}.jpg" for one in ids]})
    return table, np.stack([srgb_to_lab(one.square) for one in prepared])


def systems_files(folder: Path, table: pd.DataFrame, pixels: np.ndarray) -> None:
    np.save(folder / "pixels.npy", pixels)
    table.to_parquet(folder / "manifest.parquet")
    table.assign(copy=0).to_parquet(folder / "plan.parquet")


def test_pictures_of_a_fixed_camera_are_no_near_duplicates_by_their_thumbnails(thumbnails: np.ndarray) -> None:
    groups = near_duplicate_groups(thumbnails)
    assert len(set(groups[:COUNT])) == COUNT
    few = near_duplicate_groups(thumbnails[: ENOUGH - 1])
    assert len(set(few)) < ENOUGH // 2, "by the usual bounds, which few pictures cannot lower, most are"


def test_copies_among_pictures_that_are_all_alike_are_found(thumbnails: np.ndarray) -> None:
    lighter = np.clip(thumbnails[:20].astype(int) + 1, 0, 255).astype(np.uint8)
    groups = near_duplicate_groups(np.concatenate([thumbnails[:COUNT], lighter]))
    assert (groups[COUNT:] == groups[:20]).all()
    assert len(set(groups)) == COUNT


def test_bounds_are_the_usual_ones_where_pictures_differ() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (ENOUGH, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    assert np.unique(find_bounds(pictures.astype(np.uint8), np.arange(ENOUGH)), axis=0).tolist() == [
        [MEAN_LEVELS, WORST_LEVELS]
    ]


def test_copies_with_a_flaw_are_joined_and_other_pictures_of_the_camera_hardly_ever(
    converted: tuple[pd.DataFrame, np.ndarray],
) -> None:
    table, pixels = converted
    bounds = same_content_bounds(table, pixels)
    pairs = same_content_pairs(table, pixels, describe_pictures(table["id"], pixels), bounds)
    place = pd.Series(np.arange(len(table)), index=table["id"])
    joined = {tuple(sorted(pair)) for pair in zip(place[pairs["id"]], place[pairs["other"]], strict=True)}
    flawed = {(copy, COUNT + copy) for copy in range(0, COPIES, 2) if CLASSES[copy % len(CLASSES)] != "good"}
    assert flawed <= joined
    assert len(joined - {(copy, COUNT + copy) for copy in range(COPIES)}) <= 3
    assert bounds.min() > SAME_PICTURE


def test_pictures_of_a_fixed_camera_are_split(converted: tuple[pd.DataFrame, np.ndarray], tmp_path: Path) -> None:
    systems_files(tmp_path, *converted)
    summary = split(SplitConfig(test=0.3, validation=0.15), tmp_path, tmp_path, tmp_path / "split", seed=1)
    assert {fold: round(count / len(converted[0]), 1) for fold, count in summary.pictures.items()} == {
        "train": 0.5,
        "validation": 0.2,
        "test": 0.3,
    }
    assert summary.suspicious <= 3


def test_too_few_origins_are_refused_with_what_may_have_joined_them(
    converted: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    table, pixels = converted
    systems_files(tmp_path, table.assign(origin="all"), pixels)
    remedy = r"132 pictures share 1 origins: .*groups\.png .* set merge_near_duplicates to false in filter and split$"
    with pytest.raises(UserError, match=rf"class 'dent' comes from 1 origins, but 3 folds need one each; .*; {remedy}"):
        split(SplitConfig(test=0.3, validation=0.15), tmp_path, tmp_path, tmp_path / "split", seed=1)
    assert not (tmp_path / "split").exists()
