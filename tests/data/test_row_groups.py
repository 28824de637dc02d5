"""Large tables a row group at a time: the plan of copies and the rows of a split hold what they would in one piece."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lamina.config import section
from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.candidates import near_pairs
from lamina.data.row_groups import read_groups, write_groups
from lamina.maths.splits import SplitConfig
from lamina.stages import augment
from lamina.stages.split import split
from systems import AUGMENT, folders_of, write_stripes


def test_one_group_has_the_bytes_that_pandas_writes(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b"], "label": ["c", None], "copy": np.array([0, 1], np.int16)})[1:]
    write_groups(tmp_path / "ours.parquet", [table])
    table.to_parquet(tmp_path / "pandas.parquet", index=False)
    assert (tmp_path / "ours.parquet").read_bytes() == (tmp_path / "pandas.parquet").read_bytes()
    (read,) = read_groups(tmp_path / "ours.parquet", ["label", "copy"])
    pd.testing.assert_frame_equal(read, table[["label", "copy"]].reset_index(drop=True))


def test_plan_and_rows_are_the_same_in_many_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = folders_of(write_stripes(tmp_path / "system", train=20, validation=6, test=6))
    config = section({"augment": AUGMENT | {"copies": 2}}, "augment", AugmentConfig)
    manifest = pd.read_parquet(folders.lab / "manifest.parquet")
    found = {}
    for rows in (10, 1 << 20):
        monkeypatch.setattr(augment, "GROUP_ROWS", rows)
        out = tmp_path / str(rows)
        augment.augment(config, folders.lab, out / "augmented", seed=1)
        split(SplitConfig(test=0.3, validation=0.2), folders.lab, out / "augmented", out / "split", seed=1)
        found[rows] = [out / "augmented" / "plan.parquet", out / "split" / "manifest.parquet"]
    assert [pq.read_metadata(path).num_row_groups for path in found[10]] == [
        11,
        11,
    ]  # of three pictures, two of the last
    for many, one in zip(*found.values(), strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(many), pd.read_parquet(one))
    pd.testing.assert_frame_equal(pd.read_parquet(found[10][0]), draw_plan(manifest, config, 1))


def test_thumbnails_are_free_when_the_search_for_near_duplicates_ends() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (600, 16, 16, 3)).astype(np.uint8)
    held, places = weakref.ref(thumbnails), np.arange(len(thumbnails))
    gc.disable()  # a search for garbage may come late
    try:
        list(near_pairs(thumbnails, places, 4.0, np.full((len(places), 2), (2.0, 16.0)), np.copy, 8))
        del thumbnails
        assert held() is None
    finally:
        gc.enable()
