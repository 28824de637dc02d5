"""Augmented copies are recognized by their names only; copies of an original stay in one fold."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from lamina.config import section
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.survey import COPY_OR_OTHER, EVERY_COPY, survey_origins
from lamina.maths.splits import FOLDS, SplitConfig, split_origins
from lamina.stages.download import download
from packing import copies


def test_names_of_copies_are_recognized() -> None:
    names = copies(90, 28)
    found = survey_origins([f"TRAIN/EOSINOPHIL/{name}" for name in names], 4)
    assert found is not None
    assert (found.pattern, found.origins, found.copies, found.others) == (EVERY_COPY, 90, len(names), 0)
    mixed = survey_origins([*names, "BloodImage_00017.jpg", "x.jpg"], 4)
    assert mixed is not None
    assert (mixed.pattern, mixed.others) == (COPY_OR_OTHER, 2)
    assert survey_origins([f"cell{name}" for name in copies(12, 3, most=10**7)], 2) is not None


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{index:04d}.jpg" for index in range(200)],
        [f"n01440764_{index * 37}.JPEG" for index in range(200)],
        [f"n0{1440764 + index // 20}_{index * 37 % 9000}.JPEG" for index in range(400)],
        [f"IMG_201804{1 + index // 10:02d}_{100_000 + index * 7919 % 130_000}.jpg" for index in range(280)],
        [f"slide_{index // 10}_{index % 10}.png" for index in range(300)],
        [f"slide_{index // 10}_{index % 10:03d}.png" for index in range(300)],
        [f"digit_{index % 10}_{index * 7919 % 60_000}.png" for index in range(600)],
        [f"img_{index % 40}_{index}.png" for index in range(600)],
        [f"tile_{row}_{column * 256}.png" for row in range(30) for column in range(30)],
        [f"_{index}_{index * 7919 % 10_000}.jpeg" for index in range(300)],
        [*copies(40, 5), *(f"{index}.jpg" for index in range(210))],
        [*copies(40, 2), *(f"_40_{index * 37}.jpeg" for index in range(100))],
        [f"pos_{index % 40}_{index * 7919 % 60_000:05d}.jpg" for index in range(300)],
        [f"patient_{index % 40}_{20190101 + index * 7919 % 100_000}.jpg" for index in range(300)],
        copies(5, 20),
        [],
    ],
    ids="camera class classes date view padded digit index grid alone few giant zeros days five no".split(),  # noqa: SIM905
)
def test_names_that_only_look_like_copies_are_ignored(names: list[str]) -> None:
    assert survey_origins(names, 10) is None


def test_copies_of_an_original_stay_in_one_fold(tmp_path: Path) -> None:
    names = copies(40, 8)
    kinds = ["cat" if int(name.split("_")[1]) % 2 else "dog" for name in names]
    for kind, name in zip(kinds, names, strict=True):
        (tmp_path / "pets" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / kind / name).write_bytes(b"as it comes")
    pattern = r"_(?P<origin>\d+)_\d+\.jpe?g$"
    keys = {"kind": "folder", "location": "pets", "origin": pattern}
    download(section({"source": keys}, "source", SourceConfig), tmp_path, tmp_path / "raw", seed=1)
    table = pq.read_table(tmp_path / "raw", columns=["name", "label", "origin"]).to_pandas()
    shares = SplitConfig(test=0.3, validation=0.15).shares
    table["fold"] = table["origin"].map(split_origins(table["origin"], table["label"], shares, 13))
    original = table["name"].str.extract(r"_(\d+)_", expand=False)
    assert original.nunique() == 40
    assert (pd.crosstab(original, table["fold"]) > 0).sum(axis=1).eq(1).all()
    assert set(table["fold"]) == set(FOLDS)
