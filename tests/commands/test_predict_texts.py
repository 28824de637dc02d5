"""`lamina predict` for texts: what it prints for files and folders, and what it refuses."""

import csv
import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from finished import write_params
from lamina.commands import explain, given_files, predict
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.stages.evaluate import evaluate
from lamina.tasks.columns import probability
from systems import stage_of, train_run
from texts import DENSE, LOGISTIC, opinions, words_system

CLASSES = ("neg", "pos")
RUNS = {"logistic": LOGISTIC, "dense": DENSE | {"epochs": 2}, "untrained": LOGISTIC}
BROKEN = b"\x7fELF\x02\x01\x01\x00" * 50


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs over texts, and the texts of the test fold as files below `mine`."""
    folder = tmp_path_factory.mktemp("system")
    texts = opinions(30, CLASSES)
    words_system(folder, texts)
    write_params(folder, RUNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("logistic", "dense"):
            stage = stage_of(RUNS[name], name=name)
            train_run(stage, resume=folder / "resume", heads=folder / "heads")
            evaluate(Folders(), stage.out)
        split = pd.read_parquet("data/split/manifest.parquet").query("fold == 'test'")
        names = pd.read_parquet("data/filtered/kept.parquet").set_index("id")["name"]
        for row in split["id"]:
            path = Path("mine") / f"{row}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(texts[names[row]], encoding="utf-8")
    return folder


def call(system: Path, *options: object, run: str = "logistic") -> int:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    predict.add_arguments(parser)
    return predict.run(parser.parse_args(["--system", str(system), *map(str, options), "--run", run]))


def predicted(
    capsys: pytest.CaptureFixture[str], system: Path, *options: object, run: str = "logistic"
) -> list[dict[str, Any]]:
    capsys.readouterr()
    call(system, *options, "--json", run=run)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("run", ["logistic", "dense"])
def test_test_texts_get_what_their_evaluation_wrote(run: str, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = pd.read_parquet(system / f"models/{run}/predictions.parquet").set_index("id")
    found = predicted(capsys, system, system / "mine", run=run)
    assert [Path(one["path"]).stem for one in found] == sorted(written.index)
    for one in found:
        row = written.loc[Path(one["path"]).stem]
        assert list(one["probabilities"]) == list(CLASSES)
        assert [*one["probabilities"].values()] == pytest.approx([row[probability(name)] for name in CLASSES], abs=1e-6)
        assert one["predicted"] == row["predicted"]
        assert one["error"] is None


def test_names_that_are_not_utf_8_are_escaped(system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "mine") + b"/\xff.txt")).write_text("great lovely words")
    assert call(system, tmp_path / "mine", "--csv", tmp_path / "out.csv") == 0
    assert "/\\udcff.txt," in (tmp_path / "out.csv").read_text(encoding="utf-8")
    capsys.readouterr()
    assert call(system, tmp_path / "mine", "--json") == 0
    printed = capsys.readouterr().out
    assert printed.encode()
    assert os.fsencode(json.loads(printed)[0]["path"]).endswith(b"/\xff.txt")


@pytest.mark.parametrize("suffix", ["csv", "TSV", "jsonl"])
def test_a_table_is_not_one_text(tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"new.{suffix}"
    table.write_text("text\na good film\na bad film\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"new\.\w+: is a table, expected a text in each file"):
        given_files.find_texts([table])
    with pytest.raises(UserError, match="no text in this folder"):
        given_files.find_texts([tmp_path])


def test_a_csv_has_the_same_answers(system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/great.txt").write_text("great lovely words")
    (tmp_path / "mine/broken.txt").write_bytes(BROKEN)
    out = tmp_path / "out.csv"
    assert call(system, tmp_path / "mine", "--csv", out) == 1
    found = predicted(capsys, system, tmp_path / "mine")
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [(row["path"], row["predicted"] or None, row["error"] or None) for row in rows] == [
        (one["path"], one["predicted"], one["error"]) for one in found
    ]
    assert rows[1]["p:pos"] == f"{found[1]['probabilities']['pos']:.8g}"
    with pytest.raises(UserError, match=r"out\.csv: is there already"):  # before any text is looked for
        call(system, tmp_path / "missing", "--csv", out)


def test_a_table_has_a_line_for_each_file_and_folders_give_their_text_files(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.TXT").write_text("great lovely words")
    (tmp_path / "b.txt").write_text("an awful, DULL bore")
    (tmp_path / "notes.md").write_text("great")
    assert call(system, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [str(tmp_path / "b.txt"), "neg"],
        [str(tmp_path / "deep/a.TXT"), "pos"],
    ]
    assert all(f"{name} 0." in line for line in lines for name in CLASSES)
    assert call(system, tmp_path / "notes.md") == 0, "a file that is named is read, whatever its suffix"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[1] == "pos"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_does_not_change_a_prediction(
    encoding: str, system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    found = []
    for one in ("utf-8", encoding):
        path.write_bytes("un café lovely,\r\ndon\u2019t moving".encode(one))
        found += predicted(capsys, system, path)
    assert found[0] == found[1]


def test_words_that_are_new_leave_the_prediction_to_the_rest(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("a", "great"), ("b", "great zzz, qqq"), ("c", "zzz")):
        (tmp_path / f"{name}.txt").write_text(text)
    known, more, new = (one["probabilities"] for one in predicted(capsys, system, tmp_path))
    assert known == more != new
    assert sum(new.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("data", "words"), [(BROKEN, "binary data: "), (b"", "holds no words"), (b" \n...", "holds no words")], ids=repr
)
def test_what_is_no_text_is_reported_and_the_others_are_predicted(
    data: bytes, words: str, system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("great")
    (tmp_path / "b.txt").write_bytes(data)
    capsys.readouterr()
    assert call(system, tmp_path) == 1
    good, bad = capsys.readouterr().out.splitlines()
    assert good.split()[1] == "pos"
    assert bad.startswith(f"{tmp_path / 'b.txt'}  {words}")
    (only,) = predicted(capsys, system, tmp_path / "b.txt")
    assert (only["predicted"], only["probabilities"]) == (None, {})
    assert only["error"].startswith(words)
    with pytest.raises(UserError, match=rf"b\.txt: {words}.*; leave it out") as caught:
        call(system, tmp_path, "--request")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing.txt", r"nothing\.txt: not found; expected a text or a folder of texts"),
        ("models", r"models: no text in this folder; expected \.txt"),
    ],
)
def test_paths_without_texts_are_refused(system: Path, path: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        call(system, system / path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["mine", "a.png"])
def test_explain_is_for_pictures(system: Path, tmp_path: Path, path: str) -> None:
    options = Namespace(system=system, name="logistic", paths=[system / path], out=tmp_path / "why")
    with pytest.raises(UserError, match=r"^run 'logistic' learns from texts, but this command takes pictures"):
        explain.run(options)


def test_an_untrained_run_is_refused(system: Path) -> None:
    with pytest.raises(UserError, match=r"models/untrained/record\.json: not found") as caught:
        call(system, system / "mine", run="untrained")
    assert "\n" not in str(caught.value)


def test_the_request_to_a_served_model_holds_the_texts_in_order(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("b", "dull\r\nand boring"), ("a", 'a "great" <b>café</b>')):
        (tmp_path / f"{name}.txt").write_bytes(text.encode())
    capsys.readouterr()
    assert call(system, tmp_path, "--request") == 0
    table = json.loads(capsys.readouterr().out)["dataframe_split"]
    assert table == {"columns": ["text"], "data": [['a "great" <b>café</b>'], ["dull\nand boring"]]}
