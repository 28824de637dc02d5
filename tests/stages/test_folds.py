"""Folds by a column of the metadata: held out as the test set, or in equal shares in all folds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.config import validated
from lamina.data.given_test import given_test, read_metadata
from lamina.data.sources.metadata import TABLE
from lamina.errors import UserError
from lamina.maths.splits import SplitConfig
from lamina.stages.folds import METADATA, assign_folds, write_metadata

COUNT = 120


@pytest.fixture
def rows() -> pd.DataFrame:
    names = [f"{number:03d}.png" for number in range(COUNT)]
    label = np.where(np.arange(COUNT) % 2, "cat", "dog")
    return pd.DataFrame({"id": names, "name": names, "origin": names, "label": label})


@pytest.fixture
def metadata(rows: pd.DataFrame, tmp_path: Path) -> pd.DataFrame:
    """Two of three pictures are of site A, every third of site 2; one is of none."""
    site = np.where(np.arange(COUNT) % 3, "A", "2")
    table = pd.DataFrame({"name": rows["name"], "site": site}, dtype="str").drop(index=5)
    table.to_parquet(tmp_path / TABLE, index=False)
    found = read_metadata(tmp_path)
    assert found is not None
    return found


def config(**given: object) -> SplitConfig:
    return validated({"test": 0.3, "validation": 0.1, **given}, "split", SplitConfig)


def split(rows: pd.DataFrame, metadata: pd.DataFrame | None, chosen: SplitConfig, parts: int = 0) -> pd.DataFrame:
    find = given_test(chosen, metadata)
    published = find and find(list(rows["name"]))
    return assign_folds(rows, metadata, published, chosen, parts=parts, seed=1)


def test_a_site_is_held_out(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    known = rows[rows["name"].isin(metadata.index)]
    folds = split(known, metadata, config(hold_out={"site": "2"}))["fold"]
    is_held = (metadata["site"].reindex(known["name"]) == "2").to_numpy()
    assert set(folds[is_held]) == {"test"}
    assert set(folds[~is_held]) == {"train", "validation"}
    assert config(hold_out={"site": "2"}).shares == {"validation": 0.1}


def test_every_value_that_is_held_out_is_one_of_the_column(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    accented = metadata.replace({"A": "\u00c9vora"})
    known = rows[rows["name"].isin(accented.index)]
    with pytest.raises(UserError, match=r"split\.hold_out: nothing has site Evora; its values are 2, \u00c9vora$"):
        split(known, accented, config(hold_out={"site": ["2", "Evora"]}))
    find = given_test(config(hold_out={"site": ["E\u0301vora"]}), accented)
    assert find is not None
    assert list(find(list(known["name"]))) == list(accented["site"] == "\u00c9vora"), "composed or not"


def test_pictures_of_an_unknown_site_are_not_trained_on_silently(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    said = r"1 of 120 have no site \('005.png'\), so they may belong to 2; write it into source.metadata"
    with pytest.raises(UserError, match=said):
        split(rows, metadata, config(hold_out={"site": "2"}))


def test_every_fold_gets_its_share_of_each_site_and_class(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    known = rows["name"].isin(metadata.index)
    folds = split(rows[known], metadata, config(stratify="site"))
    site = metadata["site"].reindex(folds["name"]).set_axis(folds.index)
    share = pd.crosstab([folds["label"], site], folds["fold"], normalize="index")["test"]
    assert share.between(0.25, 0.35).all(), share
    with pytest.raises(UserError, match="class 'cat of site unknown' comes from 1 origins"):
        split(rows, metadata, config(stratify="site"))


def test_numbers_are_stratified_by_their_quarters(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    metadata["count"] = pd.Series(np.arange(COUNT - 1).astype(str), metadata.index)
    folds = split(rows.assign(label=None), metadata, config(stratify="count"), parts=4)  # one has no number
    quarter = pd.Series((np.arange(COUNT) // 30).astype(str), folds.index)
    assert pd.crosstab(quarter, folds["fold"])["test"].between(8, 10).all()
    assert pd.crosstab(quarter, folds["part"]).to_numpy().min() >= 6


def test_a_held_out_site_may_lack_some_numbers(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    metadata["count"] = [str(n if site == "2" else 100 + n) for n, site in enumerate(metadata["site"])]
    chosen = config(stratify="count", hold_out={"site": "2"}, validation=0.3)
    folds = split(rows[rows["name"].isin(metadata.index)].assign(label=None), metadata, chosen)["fold"]
    assert folds.value_counts()["validation"] == pytest.approx(0.3 * len(folds), abs=2)


def test_label_lists_of_few_origins_are_one_stratum(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    held = np.where(np.arange(COUNT - 1) % 3, "red", "red | blue").astype(object)
    held[[3, 40, 80, 100, 110, 118]] = ["x", "y", "z", "x | red", "y | z", "z | red"]
    metadata["held"] = pd.Series(held, metadata.index)
    folds = split(rows.assign(label=None), metadata, config(stratify="held"))
    place = metadata["held"].reindex(folds["name"]).set_axis(folds.index)
    share = pd.crosstab(place, folds["fold"], normalize="index")["test"]
    assert share[["red", "red | blue"]].between(0.25, 0.35).all(), share
    rare = folds["fold"][~place.isin(["red", "red | blue"])]
    assert set(rare) == {"train", "validation", "test"}, "7 of 120, and each fold has some"


def test_the_metadata_follow_the_rows(rows: pd.DataFrame, metadata: pd.DataFrame, tmp_path: Path) -> None:
    write_metadata(metadata, rows.iloc[[7, 5, 0]], tmp_path)
    found = pd.read_parquet(tmp_path / METADATA)
    assert found["id"].tolist() == ["007.png", "005.png", "000.png"]
    assert found["site"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hold_out": {"site": "B"}}, "split.hold_out: none of 120 have site B; its values are 2, A"),
        ({"hold_out": {"site": ["A", "2"]}, "test_pattern": "x"}, "test_pattern and hold_out both choose"),
        ({"hold_out": {"camera": "B"}}, "split.hold_out: source.metadata has no column 'camera'; it has site"),
        ({"hold_out": {"site": "A", "age": "3"}}, "split.hold_out"),
        ({"hold_out": {"site": []}}, "split.hold_out"),
        ({"hold_out": {"site": 2}}, "split.hold_out.site: write the value in quotes, as the table has it: '2'"),
        ({"hold_out": {"site": ["A", True]}}, "split.hold_out.site: write the value in quotes"),
        ({"stratify": "camera"}, "split.stratify: source.metadata has no column 'camera'; it has site"),
    ],
)
def test_what_cannot_be_is_refused(
    rows: pd.DataFrame, metadata: pd.DataFrame, given: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        split(rows, metadata, config(**given))


def test_a_column_needs_metadata(rows: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=r"split.stratify: names the column 'site', but .* set source.metadata"):
        split(rows, None, config(stratify="site"))


def test_a_site_without_a_class_is_no_test_set(rows: pd.DataFrame, metadata: pd.DataFrame) -> None:
    rows["label"] = np.where(np.arange(COUNT) % 3, "cat", "dog")
    metadata.loc["005.png"] = "A"
    with pytest.raises(UserError, match=r"split.hold_out: matches nothing of class 'cat'"):
        split(rows, metadata, config(hold_out={"site": "2"}))
