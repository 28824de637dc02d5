"""Corrected labels: a table next to the source replaces labels, and a wrong table is refused in one line."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lamina.data.sources.config import SourceConfig
from lamina.data.sources.corrections import TABLE
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.stages.download import DownloadSummary, download

NAMES = [f"digits/{number:05d}.png" for number in range(3)]  # a zero, a one and a two


def read(system: Path, table: str | bytes | None, **changes: Any) -> tuple[DownloadSummary, "pd.Series[str]"]:
    """Download scikit-learn's digits with corrections; return the summary and the labels by name."""
    if table is not None:
        (system / "fixed.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    given = {"kind": "sklearn", "location": "digits", "corrections": "fixed.csv"} | changes
    summary = download(SourceConfig(**given), system, system / "data/raw", seed=1)
    return summary, pd.read_parquet(system / "data/raw/part-00000.parquet", columns=["name", "label"]).set_index(
        "name"
    )["label"]


def test_labels_are_replaced_counted_and_recorded(tmp_path: Path) -> None:
    summary, labels = read(tmp_path, f"file,label\n{NAMES[0]},7\n{NAMES[1]},1\n")
    assert labels[NAMES].tolist() == ["7", "1", "2"]
    assert summary.notes == ("corrected 1 labels by fixed.csv",), "the second label is the given one"
    assert (tmp_path / "data/raw" / TABLE).read_text() == f"file,given,label\n{NAMES[0]},0,7\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_list_of_suspects_is_read_as_it_is_saved(tmp_path: Path, separator: str) -> None:
    rows = [
        "file,label,likelier,score,corrected",
        f"{NAMES[0]},0,9,0.01,8",
        f"{NAMES[1]},1,9,0.02,",
        f"{NAMES[2]},2,9,0.03,2",
    ]
    text = "\r\n".join(rows).replace(",", separator)
    summary, labels = read(tmp_path, b"\xef\xbb\xbf" + text.encode())  # as a spreadsheet saves it
    assert labels[NAMES].tolist() == ["8", "1", "2"]
    assert summary.labels["8"] == 174 + 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            f"file,label\n{NAMES[0]},7\n{NAMES[0]},8\n",
            r"fixed\.csv, line 3: 'digits/00000\.png' is '8' here and '7' above; keep one",
        ),
        (
            "file,label\ndigits/000.png,7\n",
            r"fixed\.csv: the source has no file 'digits/000\.png'; did you mean 'digits/0",
        ),
        (
            f"file,label\n{NAMES[0]},seven\n",
            r"fixed\.csv: 'digits/00000\.png' is corrected to 'seven', which is no class of the source; found: '0'",
        ),
        ("file,label\n,7\n", r"fixed\.csv, line 2: no file is named for the label '7'"),
        ("picture,class\na,7\n", r"fixed\.csv: expected a first line with the columns file and label, got .*picture"),
        ('file,label\n"a,7\n', r"fixed\.csv, line 2: not a CSV"),
        (
            f"file,label,likelier,score,corrected;\n{NAMES[0]},0,9,0.01,8;\n",
            r"fixed\.csv: expected a column corrected, got 'corrected;'; save the table again, with one kind of separ",
        ),
        ("", r"fixed\.csv: expected a first line with the columns file and label"),
        (None, r"source\.corrections: fixed\.csv: cannot read: No such file"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, table: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, table)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data/raw").exists()


def test_a_table_of_people_may_have_other_columns(tmp_path: Path) -> None:
    summary, _ = read(tmp_path, f"file,label,corrected_by\n{NAMES[0]},7,Ana\n")
    assert summary.notes == ("corrected 1 labels by fixed.csv",)


def test_a_label_named_twice_alike_counts_once_and_an_empty_table_corrects_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, f"file,label\n{NAMES[0]},7\n{NAMES[0]},7\n")[0].notes == ("corrected 1 labels by fixed.csv",)
    shutil.rmtree(tmp_path / "data")
    assert read(tmp_path, "file,label\n")[0].notes == ("corrected 0 labels by fixed.csv",)


def test_without_corrections_the_same_bytes_are_written(tmp_path: Path) -> None:
    read(tmp_path, "file,label\n")
    with_table = file_digest(tmp_path / "data/raw/part-00000.parquet")
    shutil.rmtree(tmp_path / "data")
    read(tmp_path, None, corrections=None)
    assert [path.name for path in (tmp_path / "data/raw").iterdir()] == ["part-00000.parquet"]
    assert file_digest(tmp_path / "data/raw/part-00000.parquet") == with_table


def test_corrections_need_labels() -> None:
    with pytest.raises(UserError, match=r"source\.corrections is set, but source\.labels is none"):
        SourceConfig(kind="sklearn", location="digits", labels="none", corrections="fixed.csv")
