"""The leak audit finds warped copies and does not flag different pictures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from checkout import SHARED
from lamina.data.alignment import agreement
from lamina.data.audit import (
    SAME_PICTURE,
    Audit,
    audit_folds,
    describe_pictures,
    merge_pair_origins,
    pair_captions,
    pairs_sheet,
    same_content_bounds,
    same_content_pairs,
)
from lamina.data.augmentation import warp
from lamina.data.descriptors import COPIES, describe, learn_metric, warped_copies
from lamina.data.nearest import nearest_neighbors
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import prepare_picture
from lamina.data.sources.smear import draw, shots
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.maths.splits import SplitConfig
from lamina.stages.split import split
from nightly import by_time

SIZE = 64
WARPS = {
    "mirrored": {"flip_horizontal": True},
    "rotated by 20 degrees": {"angle": 20.0},
    "upside down and shifted": {"angle": 180.0, "shift_x": 0.1, "shift_y": -0.1},
    "on its side and recolored": {"angle": 90.0, "gain_red": 1.08, "gain_blue": 0.92},
}
STILL = {"angle": 0.0, "shift_x": 0.0, "shift_y": 0.0, "flip_horizontal": False, "flip_vertical": False}
STILL |= {"gain_red": 1.0, "gain_green": 1.0, "gain_blue": 1.0}


def audited(table: pd.DataFrame, pixels: np.ndarray) -> Audit:
    return audit_folds(table, pixels, describe_pictures(table["id"], pixels), same_content_bounds(table, pixels))


def pairs_of(table: pd.DataFrame, pixels: np.ndarray) -> pd.DataFrame:
    bounds = same_content_bounds(table, pixels)
    return same_content_pairs(table, pixels, describe_pictures(table["id"], pixels), bounds)


@pytest.fixture(scope="module")
def drawn() -> tuple[pd.DataFrame, np.ndarray]:
    """Smears without flaws, each of its own origin, in folds; and their CIELAB pixels in the same order."""
    sound = [shot for shot in shots(3, 80) if shot.flaw is None]
    whole = [draw(shot, 3)[0].resize((SIZE, SIZE), Image.Resampling.BOX) for shot in sound]
    ids = [f"{7919 * number:016x}" for number in range(len(sound))]
    fold = np.array(["train", "train", "validation", "test"])[np.arange(len(sound)) % 4]
    table = pd.DataFrame({"id": ids, "name": [f"x/{one}.png" for one in ids], "fold": fold, "origin": ids})
    return table, np.stack([srgb_to_lab(np.asarray(picture)) for picture in whole])


@pytest.mark.parametrize("how", by_time(WARPS, ("mirrored", "upside down and shifted")))
def test_a_warped_copy_in_the_test_fold_is_found_and_flagged(drawn: tuple[pd.DataFrame, np.ndarray], how: str) -> None:
    table, pixels = drawn[0], drawn[1].copy()
    train, test = (int(np.flatnonzero(table["fold"] == fold)[5]) for fold in ("train", "test"))
    pixels[test] = srgb_to_lab(warp(lab_to_srgb(pixels[train]), STILL | WARPS[how]))
    audit = audited(table, pixels)
    first = audit.pairs.iloc[0]
    assert (first["id"], first["nearest"], first["fold"]) == (table["id"][test], table["id"][train], "train")
    assert first["agreement"] >= SAME_PICTURE
    assert audit.suspicious == 1


def test_different_pictures_are_not_flagged(drawn: tuple[pd.DataFrame, np.ndarray]) -> None:
    audit = audited(*drawn)
    assert audit.suspicious == 0
    assert audit.pairs["agreement"].max() < SAME_PICTURE
    assert audit.pairs["unusual"].between(0, 1).all()
    assert audit.pairs["unusual"].is_monotonic_increasing, "the closer, the more unusual"
    folds = drawn[0].set_index("id")["fold"]
    assert set(folds[audit.pairs["id"]]) == {"test"}
    assert len(audit.pairs) == audit.pairs["id"].nunique() == (folds == "test").sum()
    assert (folds[audit.pairs["nearest"]].to_numpy() == audit.pairs["fold"]).all()


@pytest.mark.parametrize("how", by_time(WARPS, ("rotated by 20 degrees", "on its side and recolored")))
def test_origins_of_pictures_with_the_same_content_are_merged(drawn: tuple[pd.DataFrame, np.ndarray], how: str) -> None:
    table, pixels = drawn[0].assign(origin=drawn[0]["id"].str[-1]), drawn[1].copy()  # sixteen origins
    left, right = 3, next(row for row in range(len(table)) if table["origin"][row] not in ("0", table["origin"][3]))
    pixels[right] = srgb_to_lab(warp(lab_to_srgb(pixels[left]), STILL | WARPS[how]))
    pairs = pairs_of(table, pixels)
    assert pairs[["id", "other"]].to_numpy().tolist() == [sorted([table["id"][left], table["id"][right]])]
    origins = merge_pair_origins(table, pairs)
    merged = {table["origin"][left], table["origin"][right]}
    assert set(origins[table["origin"].isin(merged)]) == {min(merged)}
    assert (origins == table["origin"])[~table["origin"].isin(merged)].all()


def test_the_search_continues_while_it_finds_enough_pairs(
    drawn: tuple[pd.DataFrame, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, pixels = drawn[0], drawn[1].copy()
    half = len(table) // 2
    pixels[half : 2 * half] = pixels[:half, :, ::-1]  # every picture and its mirror image
    monkeypatch.setattr("lamina.data.audit.COMPARED", 8)
    pairs = pairs_of(table, pixels)
    pairs_found = {frozenset(pair) for pair in pairs[["id", "other"]].to_numpy()}
    planted = {frozenset((table["id"][row], table["id"][row + half])) for row in range(half)}
    assert len(pairs_found & planted) > 0.9 * half > 8


@pytest.mark.parametrize("join", [True, False])
def test_the_stage_keeps_pictures_with_the_same_content_in_one_fold(
    drawn: tuple[pd.DataFrame, np.ndarray], tmp_path: Path, join: bool
) -> None:
    table, pixels = drawn[0].drop(columns="fold").assign(label="cell"), drawn[1].copy()
    half = len(table) // 2
    pixels[half : 2 * half] = pixels[:half, :, ::-1]
    np.save(tmp_path / "pixels.npy", pixels)
    table.to_parquet(tmp_path / "manifest.parquet")
    table.assign(copy=0).to_parquet(tmp_path / "plan.parquet")
    config = SplitConfig(test=0.3, validation=0.15, merge_near_duplicates=join)
    summary = split(config, tmp_path, tmp_path, tmp_path / "split", seed=1)
    rows = pd.read_parquet(tmp_path / "split" / "manifest.parquet").set_index("id").loc[table["id"]]
    fold = rows["fold"].to_numpy()
    together = fold[:half] == fold[half : 2 * half]
    assert (together.mean() > 0.9) == join
    assert (rows["origin"].nunique() < len(table)) == join
    assert (summary.joined > 0) == join
    assert (summary.suspicious > half / 4) == (not join)
    assert (tmp_path / "split" / "joined.png").exists() == join


@pytest.mark.parametrize("parts", [3, pytest.param(0, marks=pytest.mark.nightly)])
def test_a_picture_with_the_content_of_a_published_test_picture_is_spare(
    drawn: tuple[pd.DataFrame, np.ndarray], tmp_path: Path, parts: int
) -> None:
    table, pixels = drawn[0].drop(columns="fold").assign(label=None), drawn[1].copy()
    given, alike = np.array([3, 20, 21, 40]), np.array([60, 61])
    pixels[alike] = pixels[given[:2], :, ::-1]
    table.loc[given, "name"] = [f"test/{number}.png" for number in given]
    np.save(tmp_path / "pixels.npy", pixels)
    table.to_parquet(tmp_path / "manifest.parquet")
    pd.concat([table.assign(copy=copy) for copy in (0, 1)]).to_parquet(tmp_path / "plan.parquet")
    config = SplitConfig(test=0.3, validation=0.15, test_pattern="^test/")
    summary = split(config, tmp_path, tmp_path, tmp_path / "split", seed=1, parts=parts)
    rows = pd.read_parquet(tmp_path / "split" / "manifest.parquet")
    fold = rows[rows["copy"] == 0].set_index("id")["fold"].loc[table["id"]].to_numpy()
    assert list(np.flatnonzero(fold == "test")) == list(given)
    assert list(np.flatnonzero(fold == "spare")) == list(alike)
    assert set(rows.loc[rows["copy"] == 1, "fold"]) == ({"train", "spare"} if parts else {"train"})
    assert "; 2 of origins with published test pictures are not used" in str(summary)
    pairs = pd.read_parquet(tmp_path / "split" / "audit.parquet")
    assert set(pairs["id"]) == set(table["id"][given])
    assert not set(pairs["nearest"]) & set(table["id"][alike])
    assert summary.suspicious == 0


def test_without_pairs_all_origins_stay(drawn: tuple[pd.DataFrame, np.ndarray]) -> None:
    table, pixels = drawn
    pairs = pairs_of(table, pixels)
    assert not len(pairs)
    assert (merge_pair_origins(table, pairs) == table["origin"]).all()
    one = table.assign(origin="all the same")
    assert not len(pairs_of(one, pixels))


def test_a_leak_into_validation_is_found(drawn: tuple[pd.DataFrame, np.ndarray]) -> None:
    table, pixels = drawn[0], drawn[1].copy()
    seen, test = (int(np.flatnonzero(table["fold"] == fold)[2]) for fold in ("validation", "test"))
    pixels[test] = pixels[seen]
    first = audited(table, pixels).pairs.iloc[0]
    assert (first["nearest"], first["fold"], first["distance"]) == (table["id"][seen], "validation", 0)
    assert first["unusual"] == 0
    assert first["agreement"] == pytest.approx(1, abs=0.01)


def test_the_order_of_pictures_does_not_matter(drawn: tuple[pd.DataFrame, np.ndarray]) -> None:
    table, pixels = drawn[0], drawn[1].copy()
    order = np.random.default_rng(2).permutation(len(table))
    twins = np.flatnonzero(table["fold"] != "test")[[3, 9, 30]]
    pixels[[*twins, np.flatnonzero(table["fold"] == "test")[4]]] = pixels[0]
    before = pixels.copy()
    shuffled = audited(table.iloc[order].reset_index(drop=True), pixels[order])
    pd.testing.assert_frame_equal(shuffled.pairs, audited(table, pixels).pairs)
    assert shuffled.pairs["nearest"][0] == table["id"][0], "of equals the smallest id"
    assert np.array_equal(pixels, before)


def test_pictures_of_any_size_and_without_color_or_detail_are_audited() -> None:
    flat = np.zeros((9, 8, 8, 3), np.int16)
    flat[..., 0] = np.arange(9)[:, None, None] * 1000
    fold = ["train"] * 4 + ["validation"] * 2 + ["test"] * 3
    ids = [f"{number:016x}" for number in range(9)]
    audit = audited(pd.DataFrame({"id": ids, "origin": ids, "fold": fold}), flat)
    assert np.isfinite(audit.pairs["distance"]).all()
    assert audit.suspicious == 0, "flat pictures have no details to agree on"


def test_nearest_neighbors_are_those_of_all_pairs_whatever_the_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    queries, pool = (random.normal(size=(count, 5)).astype(np.float32) for count in (40, 70))
    queries[20:], pool[35:] = queries[20:] + 40, pool[35:] + 40  # two clusters: leaves of one need not be searched
    pool[60] = pool[3]
    queries[7] = pool[3]
    origins = random.integers(0, 4, 40), random.integers(0, 4, 70)
    far = np.linalg.norm(queries[:, None] - pool[None], axis=2)
    other = np.where(origins[0][:, None] == origins[1], np.inf, far)
    for most in (1_000, 7, 1):
        monkeypatch.setattr("lamina.data.nearest._LEAF", most)
        for table, numbers in ((far, None), (other, origins)):
            found, distance = nearest_neighbors(queries, pool, numbers)
            assert found.tolist() == table.argmin(axis=1).tolist()
            np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-4, atol=1e-3)
    assert nearest_neighbors(queries, pool)[0][7] == 3, "of equals the first"


def test_the_metric_separates_copies_from_other_pictures(drawn: tuple[pd.DataFrame, np.ndarray]) -> None:
    pixels = drawn[1]
    described, half = describe(pixels), len(pixels) // 2
    random = np.random.default_rng(5)
    warped = np.stack([describe(warped_copies(picture, random)) for picture in pixels])
    metric = learn_metric(described[:half], warped[:half])
    unseen = warped[half:].reshape(-1, described.shape[1])
    right = np.repeat(np.arange(half, len(pixels)), COPIES)
    assert (nearest_neighbors(unseen @ metric, described @ metric)[0] == right).mean() > 0.9
    assert (nearest_neighbors(unseen, described)[0] == right).mean() < 0.8, "without the metric fewer are found"


def test_agreement_is_one_for_a_picture_and_its_mirror_image(drawn: tuple[pd.DataFrame, np.ndarray]) -> None:
    picture, other = drawn[1][0], drawn[1][1]
    assert agreement(picture, picture) == pytest.approx(1, abs=0.01)
    assert agreement(picture, picture[:, ::-1]) == pytest.approx(1, abs=0.02)
    assert agreement(picture, other) < 0.9


def test_the_sheet_shows_the_pair_side_by_side(drawn: tuple[pd.DataFrame, np.ndarray]) -> None:
    table, pixels = drawn[0], np.zeros_like(drawn[1])
    pixels[..., 0] = 10_000
    pixels[3, ..., 0], pixels[0, ..., 0] = 3_000, 6_000
    pairs = pd.DataFrame({"id": [table["id"][3]], "nearest": table["id"][0], "fold": "train"})
    sheet = np.asarray(pairs_sheet(pairs.assign(distance=1.0, agreement=0.5), table, pixels).convert("L"))
    dark, light = (int(lab_to_srgb(pixels[place])[0, 0, 0]) for place in (3, 0))
    found = [np.flatnonzero((np.abs(sheet.astype(int) - level) < 2).sum(axis=0) > 60) for level in (dark, light)]
    assert found[0].max() < found[1].min(), "the test picture stands left"
    assert min(map(len, found)) > 100


def test_below_a_pair_are_the_folders_that_tell_pictures_apart() -> None:
    far = f"{'x' * 50}/12345 end.jpg"
    names = ["a/oak/1.jpg", "a/ash/1.jpg", "b/ash/1.jpg", "ash/2.jpg", "1.jpg", far, "x/12345 end.jpg"]
    table = pd.DataFrame({"id": [*"abcdefg"], "name": names})
    pairs = pd.DataFrame({"id": [*"ace"], "nearest": [*"bdf"], "fold": "train", "distance": 1.0})
    pairs = pairs.assign(agreement=[0.5, -1.0, -0.25])
    assert pair_captions(pairs, table) == [
        "test: oak/1.jpg\ntrain: a/ash/1.jpg\nagreement 0.50, distance 1.0",
        "test: b/ash/1.jpg\ntrain: 2.jpg\nnot alignable, distance 1.0",
        "test: 1.jpg\ntrain: xxxxxxxxxx…xxxxx/12345 end.jpg\nagreement -0.25, distance 1.0",
    ]
    joined = pairs.rename(columns={"nearest": "other"}).drop(columns="fold")
    assert pair_captions(joined, table)[0] == "left: oak/1.jpg\nright: a/ash/1.jpg\nagreement 0.50"


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_warped_photographs_are_found_and_never_confused() -> None:
    from zipfile import ZipFile

    config = ConvertConfig(size=96, isolate="none")
    with ZipFile(SHARED / "photos.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".JPEG"))[:60]
        pixels = np.stack([srgb_to_lab(prepare_picture(archive.read(name), config).square) for name in names])
    random = np.random.default_rng(6)
    warped = np.stack([warped_copies(picture, random)[0] for picture in pixels])
    assert Image.fromarray(lab_to_srgb(warped[0])).size == (64, 64)
    agreed = [agreement(picture, copy) for picture, copy in zip(pixels, warped, strict=True)]
    assert np.mean(np.array(agreed) > SAME_PICTURE) > 0.9
    others = [agreement(pixels[place - 1], pixels[place]) for place in range(len(pixels))]
    assert max(others) < 0.8
