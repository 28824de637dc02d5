"""Targets from the metadata: both forms of labels, numbers, what is refused, and which tables an edit changes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.data.given_test import read_metadata
from lamina.data.rows import Folders
from lamina.data.sources.metadata import TABLE
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.inputs.targets import read_label_sets, read_numbers, read_targets, targets_digest, write_targets
from lamina.maths.quarters import cut_numbers
from lamina.stages.folds import write_metadata
from lamina.stages.split import split_targets
from lamina.tasks.registry import TASKS


def table(**columns: Sequence[str | None]) -> pd.DataFrame:
    """Return metadata by id, as `read_targets` does: text, or missing."""
    count = len(next(iter(columns.values())))
    return pd.DataFrame(columns, dtype="str", index=pd.Index([f"id {place}" for place in range(count)], name="id"))


def labels_of(found: pd.DataFrame) -> dict[str, list[str]]:
    return {
        str(name): [str(label) for label in found.columns[row]]
        for name, row in zip(found.index, found.to_numpy(), strict=True)
    }


# ---- labels in a list


@pytest.mark.parametrize("separator", ["|", ";", ",", " | "])
def test_a_cell_lists_labels_and_a_missing_one_leaves_the_picture_out(separator: str) -> None:
    cells = [separator.join(["dog", "cat"]), "cat", "-", "None", None, f"bird{separator}", f"dog{separator}none"]
    found = read_label_sets(table(seen=cells), ["seen"])
    assert list(found.columns) == ["bird", "cat", "dog"]
    assert labels_of(found) == {
        "id 0": ["cat", "dog"],
        "id 1": ["cat"],
        "id 2": [],
        "id 3": [],
        "id 5": ["bird"],
        "id 6": ["dog"],
    }
    assert set(found.dtypes) == {np.dtype(bool)}


def test_the_first_separator_that_a_column_has_is_the_only_one() -> None:
    found = read_label_sets(table(seen=["tench, Tinca tinca | cat", "a;b", "cat"]), ["seen"])
    assert list(found.columns) == ["a;b", "cat", "tench, Tinca tinca"]


# ---- labels in a column each


def test_each_column_says_yes_or_no() -> None:
    cells = {"cat": ["1", "0", "TRUE", "-1", "1", "1.0"], "dog": ["no", "yes", "False", "-1.0", None, "0.0"]}
    found = read_label_sets(table(**cells, other=["x"] * 6), ["dog", "cat"])
    assert list(found.columns) == ["dog", "cat"], "the order of the settings"
    expected = {"id 0": ["cat"], "id 1": ["dog"], "id 2": ["cat"], "id 3": [], "id 5": ["cat"]}
    assert labels_of(found) == expected, "without the picture that lacks a cell"


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        ({"seen": ["a|b"]}, ["sen"], r"^targets: no column 'sen' in source.metadata; its columns are seen$"),
        (
            {"a": ["1", "2", "maybe"], "b": ["1", "0", "0"]},
            ["a", "b"],
            r"2 of 3 cells .* 'a' .*\('2', 'maybe'\)",
        ),
        ({"seen": ["cat", "cat", "-"]}, ["seen"], r"expected two labels or more in source.metadata, found cat; for"),
        ({"seen": [None, None]}, ["seen"], r"found none; for one class a picture take task: classify"),
        ({"a": ["1"], "b|c": ["0"]}, ["a", "b|c"], r"a label cannot be called 'b\|c'; rename it"),
        ({"a": ["1"], "none": ["0"]}, ["a", "none"], r"a label cannot be called 'none'"),
    ],
    ids=["no column", "cells", "one label", "no cell", "separator", "none"],
)
def test_what_are_no_labels_is_refused(columns: dict[str, list[str | None]], wanted: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_label_sets(table(**columns), wanted)


def test_without_metadata_the_setting_to_add_is_named() -> None:
    with pytest.raises(UserError, match=r"^target: no column 'age'.* columns are none: set source.metadata$"):
        read_numbers(pd.DataFrame(index=pd.Index(["id 0"], name="id")), "age")


# ---- numbers


def test_numbers_are_read_and_missing_cells_left_out() -> None:
    found = read_numbers(table(age=["1", "-2.5", None, "1e3"]), "age")
    assert found.to_dict() == {"id 0": 1.0, "id 1": -2.5, "id 3": 1000.0}
    assert found.dtype == np.float64


@pytest.mark.parametrize("cell", ["2,500", "1e1", ",5", "-3,25e1"])
def test_a_column_of_decimal_commas_is_numbers(cell: str) -> None:
    found = read_numbers(table(age=["1,5", None, cell, "7"]), "age")
    assert found.to_dict() == {"id 0": 1.5, "id 2": float(cell.replace(",", ".")), "id 3": 7}
    assert cut_numbers(pd.Series([f"{number},5" for number in range(8)])) is not None, "quarters, as of points"


def test_commas_and_points_in_one_column_are_refused() -> None:
    with pytest.raises(UserError, match=r"1 of 2 cells of the column 'age' hold no finite number \('1,5'\)"):
        read_numbers(table(age=["1,5", "2.5"]), "age")


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "nan", "1e999", "twelve", "1,500", "1,2,3", "True"])
def test_what_is_no_finite_number_is_refused(cell: str) -> None:
    with pytest.raises(UserError, match=rf"^source.metadata: 1 of 2 cells of the column 'age' .*\('{cell}'\); correct"):
        read_numbers(table(age=["1", cell, None]), "age")


# ---- identity, and files


def test_the_digest_follows_from_the_answers_and_not_from_their_order() -> None:
    found = read_label_sets(table(seen=["a|b", "a", "-"]), ["seen"])
    assert targets_digest(found.iloc[::-1]) == targets_digest(found)
    for other in (["a|b", "a", "a"], ["a|c", "a", "-"], ["a|b", "a", None]):
        assert targets_digest(read_label_sets(table(seen=other), ["seen"])) != targets_digest(found)
    numbers = read_numbers(table(age=["1", "2"]), "age").to_frame()
    assert targets_digest(numbers) != targets_digest(numbers + 1e-9)


def test_an_edit_of_the_metadata_changes_only_the_tables_of_tasks_that_learn_from_them(tmp_path: Path) -> None:
    def written(seen: list[str | None]) -> dict[str, str]:
        raw, split, out = tmp_path / "raw", tmp_path / "split", tmp_path / "targets"
        for folder in (raw, split, out):
            folder.mkdir(exist_ok=True)
        pd.DataFrame({"name": ["x.png", "y.png"], "seen": seen}, dtype="str").to_parquet(raw / TABLE)
        rows = pd.DataFrame({"id": ["a", "b", "b"], "name": ["x.png", "y.png", "y.png"]})
        rows.to_parquet(split / "manifest.parquet")
        write_metadata(read_metadata(raw), rows.drop_duplicates(), split)
        split_targets(split, out)
        return {path.stem: file_digest(path) for path in out.iterdir()}

    first, again, other = written(["p|q", None]), written(["p|q", None]), written(["p|q", "p"])
    assert set(first) == set(TASKS), "every task has a table, as dvc.yaml names one for each run"
    assert first == again
    assert {name for name in first if first[name] != other[name]} == {"multilabel", "regress"}
    assert read_targets(Folders(targets=tmp_path / "targets"), "regress")["seen"].to_dict() == {"a": "p|q", "b": "p"}
    assert list(pd.read_parquet(tmp_path / "targets" / "classify.parquet").columns) == ["id"]


def test_without_metadata_every_table_holds_the_ids_alone(tmp_path: Path) -> None:
    write_targets(tmp_path, None, ["a", "b"], {"multilabel": True, "classify": False})
    for name in ("multilabel", "classify"):
        assert pd.read_parquet(tmp_path / f"{name}.parquet").to_dict("list") == {"id": ["a", "b"]}
