"""Rows of the split as pictures: in any order, with planned and with fresh warps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.data.augmentation import PLAN_COLUMNS, AugmentConfig, draw_fresh, warp
from lamina.data.rows import open_rows
from lamina.errors import UserError
from lamina.inputs.index import read_split
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from systems import folders_of, write_blots, write_stripes


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("stripes"))


def test_rows_are_the_same_in_any_order_and_number(stripes: Path) -> None:
    manifest = read_split(folders_of(stripes))
    rows = open_rows(manifest[manifest["fold"] == "train"], folders_of(stripes))
    all_at_once = rows.read(np.arange(len(rows)))
    order = np.random.default_rng(0).permutation(len(rows))[:17]
    np.testing.assert_array_equal(rows.read(order), all_at_once[order])
    np.testing.assert_array_equal(np.concatenate(list(rows.batches(7))), all_at_once)


def test_a_plan_of_other_pictures_is_refused(tmp_path: Path) -> None:
    folders = folders_of(write_stripes(tmp_path, train=6, validation=2, test=2))
    manifest = read_split(folders)
    plan = pd.read_parquet(folders.augmented / "plan.parquet")
    plan[::-1].to_parquet(folders.augmented / "plan.parquet")
    with pytest.raises(UserError, match=r"plan\.parquet is not of the pictures in .*lab; run: dvc repro"):
        open_rows(manifest, folders)


def test_a_picture_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folders = folders_of(write_stripes(tmp_path, train=6, validation=2, test=2))
    manifest = read_split(folders).assign(id="f" * 16)
    with pytest.raises(UserError, match="is not of the pictures"):
        open_rows(manifest, folders)


def test_a_copy_that_the_plan_lacks_is_refused(tmp_path: Path) -> None:
    folders = folders_of(write_stripes(tmp_path, train=6, validation=2, test=2))
    last = pd.read_parquet(folders.augmented / "plan.parquet").iloc[[-1]]
    with pytest.raises(UserError, match="is not of the pictures"):
        open_rows(last.assign(copy=last["copy"] + 1), folders)


def test_lab_rows_are_warped_as_planned_and_keep_their_colors(tmp_path: Path) -> None:
    folders = folders_of(write_blots(tmp_path, train=30, validation=5, test=5))
    rows = open_rows(read_split(folders), folders)
    lab = rows.read_lab(np.arange(len(rows)))
    for place, row in enumerate(rows.plan.to_dict("records")[:20]):
        stored = np.array(rows.pixels[rows.place[place]])
        if row["copy"] == 0:
            np.testing.assert_array_equal(lab[place], stored)
        else:
            plain = {**row, "gain_red": 1.0, "gain_green": 1.0, "gain_blue": 1.0}
            expected = srgb_to_lab(warp(lab_to_srgb(stored), plain)).astype(int)
            assert np.abs(lab[place] - expected).mean() < 200  # two units: mixed in CIELAB, not in sRGB
    np.testing.assert_array_equal(rows.read_lab([5, 1]), lab[[5, 1]])


def test_fresh_rows_differ_by_epoch_and_depend_on_the_seed() -> None:
    rows = pd.DataFrame({"id": [f"{number:016x}" for number in range(50) for _ in range(3)], "copy": [0, 1, 2] * 50})
    config = AugmentConfig(copies=2, rotation=20.0, shift=0.1, flip_horizontal=True, flip_vertical=False, color=0.05)
    first, again, second = (draw_fresh(rows, config, seed=1, epoch=epoch) for epoch in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    angles = np.concatenate([first["angle"], second["angle"], draw_fresh(rows, config, seed=2, epoch=1)["angle"]])
    assert len(np.unique(angles)) == len(angles), "every epoch, copy and seed has its own"
    some = rows.sample(40, random_state=1)
    pd.testing.assert_frame_equal(
        draw_fresh(some, config, seed=1, epoch=1), first.loc[some.index].reset_index(drop=True)
    )
    assert (first["copy"] > 0).all(), "originals are warped as well"
    assert first["angle"].abs().max() <= 20
    assert first["angle"].abs().max() > 18
    assert first[["shift_x", "shift_y"]].abs().to_numpy().max() <= 0.1
    assert first[["gain_red", "gain_green", "gain_blue"]].sub(1).abs().to_numpy().max() <= 0.05
    assert 0.3 < first["flip_horizontal"].mean() < 0.7
    assert not first["flip_vertical"].any()
    assert list(first.columns) == ["copy", *PLAN_COLUMNS]
