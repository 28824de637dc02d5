"""Metadata of a source: each row finds its picture, and a wrong table is refused in one line."""

from pathlib import Path

import pandas as pd
import pytest

from lamina.data.sources.config import SourceConfig
from lamina.data.sources.metadata import TABLE, Metadata
from lamina.errors import UserError
from lamina.stages.download import download

NAMES = ["site/a/1.png", "site/a/2.png", "site/b/1.png"]


def written(folder: Path, text: str, names: list[str] = NAMES) -> pd.DataFrame:
    (folder / "meta.csv").write_text(text, encoding="utf-8")
    metadata = Metadata(folder / "meta.csv", "meta.csv")
    metadata.write(names, folder)
    assert str(metadata).startswith("metadata of ")
    return pd.read_parquet(folder / TABLE)


def test_rows_are_found_by_name_or_by_a_base_name_of_one_picture(tmp_path: Path) -> None:
    found = written(tmp_path, "File;Camera;age\nsite/a/1.png;A;61\n2.png;;7\nnot here.png;C;9\n")
    assert found.fillna("-").to_dict("list") == {"name": NAMES[:2], "Camera": ["A", "-"], "age": ["61", "7"]}
    other = written(tmp_path, "age,picture\n61,site/b/1\n7,2\n")
    assert other.to_dict("list") == {"name": NAMES[1:], "age": ["7", "61"]}, "without the column file, and suffixes"
    shared = written(tmp_path, "file,camera\n1.png,A\n2.png,B\n")
    assert shared["name"].tolist() == [NAMES[1]], "two pictures are called 1.png"


def test_rows_may_leave_out_a_top_folder_that_all_names_share(tmp_path: Path) -> None:
    found = written(tmp_path, "file,camera\na/1.png,A\nb/1,B\n")
    assert found.to_dict("list") == {"name": [NAMES[0], NAMES[2]], "camera": ["A", "B"]}
    with pytest.raises(UserError, match="none of its 1 files is in the source"):
        written(tmp_path, "file,camera\n1.png,A\n", ["sit/1.png", "site/1.png"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,id\n2.png,A\n", "the column 'id' has the name of one that lamina adds to the table; rename it"),
        ("picture,name\n2.png,A\n", "the column 'name' has the name of one"),
        ("name,camera\n1.png,A\n", r"expected a first line with the column file and others, got 'name,camera'"),
        ("file\n1.png\n", "expected a first line with the column file and others"),
        ("file,camera,Camera\n1.png,A,B\n", "expected a first line with the column file"),
        ("file,camera\n2.png,A\n2.png,B\n", r"line 3: '2.png' has other values than in a line above; keep one of them"),
        ("file,camera\n2.png\n", r"line 2: expected 2 cells with a file, got"),
        ("file,camera\n,A\n", r"line 2: expected 2 cells with a file, got"),
        ('file,camera\n2.png,"A\n', "line 2: not a CSV"),
        ("file,camera\nx.png,A\n", r"none of its 1 files is in the source \(.*x.png.*\), which has .*1.png"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=f"meta.csv.*{words}"):
        written(tmp_path, text)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.metadata: gone\.csv: cannot read: No such file"):
        Metadata(tmp_path / "gone.csv", "gone.csv")


def test_download_keeps_the_metadata_next_to_the_pictures(tmp_path: Path) -> None:
    config = SourceConfig(kind="smear", pictures=6, metadata="meta.csv")
    download(SourceConfig(kind="smear", pictures=6), tmp_path, tmp_path / "first", seed=1)
    names = pd.read_parquet(tmp_path / "first", columns=["name"])["name"].tolist()
    rows = "".join(f"{name},{'AB'[number % 2]}\n" for number, name in enumerate(names))
    (tmp_path / "meta.csv").write_text(f"file,hospital\n{rows}")
    summary = download(config, tmp_path, tmp_path / "raw", seed=1)
    assert "metadata of 6 of 6 by meta.csv: hospital" in summary.notes
    assert pd.read_parquet(tmp_path / "raw" / TABLE)["hospital"].tolist() == list("ABABAB")
    assert len(pd.read_parquet(tmp_path / "raw")) == 6, "readers of the folder see pictures alone"
