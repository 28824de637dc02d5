"""`lamina predict`, `explain` and `export`: what they print and write, and which runs they refuse."""

import csv
import json
import os
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from finished import CONVERT, finished_record, run_settings, write_params
from lamina.commands import explain, export, given_files, predict
from lamina.errors import UserError
from uncertain import predicted as answers_of
from uncertain import write_doubt

SIZE = 16
CLASSES = ("cat", "dog", "owl")
ANSWERED = "classify or multilabel or regress"  # tasks
RUNS = {
    "small": run_settings("network"),
    "untrained": run_settings("head"),
    "colors": run_settings("colorizer"),
    "light": run_settings("lightness"),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of three classes, and pictures, of which one is broken."""
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    folder = tmp_path_factory.mktemp("system")
    write_params(folder, RUNS, convert=CONVERT | {"size": SIZE})
    for run in ("small", "colors", "light"):
        classes = CLASSES if run == "small" else ()
        (folder / "models" / run).mkdir(parents=True)
        record = finished_record(run, RUNS[run], classes=classes, width=SIZE)
        record.write(folder / "models" / run / "record.json")
    save_model(build_network("small_cnn", SIZE, len(CLASSES), dropout=0.5, seed=3), folder / "models/small/model.keras")
    draw = np.random.default_rng(0)
    for place in ("mine/a.png", "mine/deep/b.jpg", "mine/deep/a.png"):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(path)
    (folder / "mine/broken.png").write_bytes(b"nothing")
    (folder / "mine/notes.txt").write_text("no picture")
    return folder


def call(command: Any, system: Path, *options: object) -> int:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(["--system", str(system), *map(str, options)])))


def predicted(system: Path, capsys: pytest.CaptureFixture[str], *options: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    call(predict, system, *options, "--run", "small", "--json")
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_every_picture_of_a_folder_gets_the_probabilities_of_the_model(
    system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lamina.models.loading import load_model

    found = {
        Path(one["path"]).relative_to(system / "mine").as_posix(): one
        for one in predicted(system, capsys, system / "mine")
    }
    assert list(found) == ["a.png", "broken.png", "deep/a.png", "deep/b.jpg"]
    assert "not a picture" in found["broken.png"]["error"]
    assert found["broken.png"]["predicted"] is None
    model = load_model(system / "models/small/model.keras")
    squares, _ = predict.prepare_batch(
        [system / "mine/a.png"], predict.read_learned(system, "small", ["classify"]).convert
    )
    expected = model.predict(np.stack(list(squares.values())), verbose=0)[0]
    probabilities = found["a.png"]["probabilities"]
    assert list(probabilities) == list(CLASSES)
    assert list(probabilities.values()) == pytest.approx(expected, abs=1e-5)
    assert found["a.png"]["predicted"] == max(probabilities, key=probabilities.get)


def test_a_table_has_a_line_per_picture_and_the_exit_code_reports_broken_ones(
    system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(predict, system, system / "mine", "--run", "small") == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert sum("unreadable: " in line for line in lines) == 1
    assert call(predict, system, system / "mine/a.png", "--run", "small") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert all(f"{name} 0." in line for name in CLASSES)


def test_answers_come_with_their_doubt(system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("params.yaml", "models", "mine"):
        (shutil.copytree if (system / name).is_dir() else shutil.copy)(system / name, tmp_path / name)
    without = predicted(tmp_path, capsys, tmp_path / "mine/a.png")[0]
    assert (without["scaled"], without["set"], without["outlier"]) == (None, None, None)
    known = write_doubt(tmp_path / "models/small", answers_of(200, CLASSES), CLASSES, width=256)
    (found,) = predicted(tmp_path, capsys, tmp_path / "mine/a.png")
    assert found["probabilities"] == without["probabilities"], "the model's own"
    assert sum(found["scaled"].values()) == pytest.approx(1)
    shares = np.array([list(found["probabilities"].values())])
    assert found["set"] == [name for name, inside in zip(CLASSES, known.sets(shares)[0], strict=True) if inside]
    assert found["outlier"] is True, "the reference features lie along the axes"
    call(predict, tmp_path, tmp_path / "mine/a.png", "--run", "small", "--coverage", "0.97", "--by-class")
    line = capsys.readouterr().out
    assert f"scaled {found['scaled'][found['predicted']]:.3f}  set {{cat, dog, owl}}  out of distribution" in line
    write_doubt(tmp_path / "models/small", answers_of(8, CLASSES), CLASSES, width=256)
    call(predict, tmp_path, tmp_path / "mine/a.png", "--run", "small")
    assert "note: a coverage of 90% needs 9 origins in the validation fold, which has 8" in capsys.readouterr().err
    with pytest.raises(UserError, match="--recall and --cost choose between two classes"):
        call(predict, tmp_path, tmp_path / "mine/a.png", "--run", "small", "--cost", "cat=5")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--coverage", "90", "expected a share between 0 and 1, got 90"),
        ("--recall", "cat", "expected CLASS=NUMBER with a number above 0, got cat"),
        ("--cost", "cat=-1", "expected CLASS=NUMBER with a number above 0, got cat=-1"),
    ],
)
def test_a_wish_that_is_no_number_is_refused(
    system: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, words: str
) -> None:
    with pytest.raises(SystemExit):
        call(predict, system, system / "mine", "--run", "small", option, value)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("processes", [False, True])
def test_a_csv_has_the_same_answers(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, processes: bool
) -> None:
    monkeypatch.setattr(predict, "MANY", 1 if processes else 1000)
    out = tmp_path / "out.csv"
    assert call(predict, system, system / "mine", "--run", "small", "--csv", out) == 1
    assert capsys.readouterr().out == f"{out}: 4 rows, 1 of them without an answer\n"
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    for row, one in zip(rows, predicted(system, capsys, system / "mine"), strict=True):
        assert row["path"] == one["path"]
        assert row["predicted"] == (one["predicted"] or "")
        assert row["error"] == (one["error"] or "")
        found = {name: row[f"p:{name}"] for name in CLASSES}
        expected = {name: f"{one['probabilities'][name]:.8g}" if one["predicted"] else "" for name in CLASSES}
        assert found == expected
    assert call(predict, system, system / "mine/a.png", "--run", "small", "--csv", tmp_path / "one.csv") == 0
    with pytest.raises(UserError, match=r"out\.csv: is there already"):  # before any picture is looked for
        call(predict, system, system / "missing", "--run", "small", "--csv", out)


def test_a_csv_of_a_run_without_a_model_leaves_nothing(system: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"models/untrained/record\.json"):
        call(predict, system, system / "mine", "--run", "untrained", "--csv", tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_a_broken_model_ends_the_processes_that_read_ahead(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "MANY", 1)
    before = set(psutil.Process().children(recursive=True))
    model = system / "models/small/model.keras"
    content = model.read_bytes()
    model.write_bytes(b"broken")
    try:
        with pytest.raises(UserError, match="not a model") as raised:
            call(predict, system, system / "mine", "--run", "small", "--csv", tmp_path / "out.csv")
    finally:
        model.write_bytes(content)
    assert raised.value, "its traceback is still there: nothing was ended by chance"
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [process for process in left if any("loky.backend.popen" in part for part in process.cmdline())]


def test_links_to_folders_are_followed_and_what_is_hidden_is_not_read(tmp_path: Path) -> None:
    for name in ("mine/b/2.png", "mine/b/._2.png", "mine/__MACOSX/b/2.png", "mine/.old/3.png", "other/1.PNG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "mine/a").symlink_to(tmp_path / "other")
    (tmp_path / "other/again").symlink_to(tmp_path / "mine")
    found = given_files.find_pictures([tmp_path / "mine"])
    assert found == [tmp_path / "mine/a/1.PNG", tmp_path / "mine/b/2.png"]


@pytest.mark.parametrize(("path", "words"), [("nothing.png", "not found"), ("models", "no picture in this folder")])
def test_paths_without_pictures_are_refused(system: Path, path: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call(predict, system, system / path, "--run", "small")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file_is_not_read(system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading them would never end."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    shutil.copy(system / "mine/a.png", tmp_path)
    errors = {Path(one["path"]).name: one["error"] for one in predicted(system, capsys, tmp_path)}
    assert errors == {"a.png": None, **dict.fromkeys(["pipe.png", "zero.png"], "unreadable: not a regular file")}
    for path in ("pipe.png", "zero.png"):
        with pytest.raises(UserError, match=f"{path}: neither file nor folder; expected a picture or a folder of"):
            call(predict, system, tmp_path / path, "--run", "small")


@pytest.mark.parametrize(("trained_with", "expected"), [({}, 10), ({"depth": 12}, 12)])
def test_the_depth_is_that_of_the_training_or_of_all_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trained_with: dict[str, int], expected: int
) -> None:
    write_params(tmp_path, RUNS, convert=CONVERT)
    record = finished_record("small", RUNS["small"], data={"digest": "d", "rows": {}, **trained_with})
    record.write(tmp_path / "models/small/record.json")
    for name, largest in {"dark": 100, "light": 1000}.items():
        Image.fromarray(np.full((9, 9), largest, np.uint16)).save(tmp_path / f"{name}.png")
    paths = sorted(tmp_path.glob("*.png"))
    learned = predict.with_depth(predict.read_learned(tmp_path, "small", ["classify"]), paths)
    assert learned.convert.depth == expected
    assert ("of which the largest is 1000: read as 10 bits" in capsys.readouterr().err) is (not trained_with)
    squares, _ = predict.prepare_batch(paths, learned.convert)
    shades = [int(square[0, 0, 0]) for square in squares.values()]
    assert shades == [100 >> (expected - 8), 1000 >> (expected - 8)]


@pytest.mark.parametrize("run", ["small", "colors", "light"])
def test_the_request_to_a_served_model_holds_the_squares(
    system: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(predict, system, system / "mine/a.png", "--run", run, "--request") == 0
    assert np.shape(json.loads(capsys.readouterr().out)["inputs"]) == (1, SIZE, SIZE, 3)
    with pytest.raises(UserError, match=r"broken\.png: unreadable: .*; leave it out"):
        call(predict, system, system / "mine", "--run", run, "--request")


def test_every_picture_gets_a_sheet_of_its_own(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(explain, system, system / "mine", "--run", "small", "--out", tmp_path / "why") == 1
    printed = capsys.readouterr()
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == ["a-2.png", "a.png", "b.png"]
    assert printed.out == f"{tmp_path / 'why'}: 3 sheets\n"
    assert printed.err.startswith(f"{system / 'mine/broken.png'}: unreadable")
    assert printed.err.splitlines()[-1] == f"note: {tmp_path / 'why/a-2.png'} shows {system / 'mine/deep/a.png'}"
    assert call(explain, system, system / "mine/a.png", "--run", "small", "--out", tmp_path / "one") == 0
    own = (system / "mine/a.png").read_bytes()
    with pytest.raises(UserError, match="mine: holds pictures that are explained, and sheets have their names; give"):
        call(explain, system, system / "mine/a.png", "--run", "small", "--out", system / "mine")
    assert (system / "mine/a.png").read_bytes() == own
    assert capsys.readouterr().out == f"{tmp_path / 'one'}: 1 sheet\n"
    twice = system / "mine/a.png", system / "mine/a.png"
    assert call(explain, system, *twice, "--run", "small", "--out", tmp_path / "twice") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'twice'}: 1 sheet\n"
    assert [path.name for path in (tmp_path / "twice").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("command", "options", "run"),
    [
        *((predict, ("a.png",), run) for run in ("colors", "light")),
        *((explain, ("a.png", "--out", "why"), run) for run in ("colors", "light")),
        (export, (), "light"),
    ],
)
def test_commands_refuse_other_tasks(system: Path, command: Any, options: tuple[str, ...], run: str) -> None:
    placed = [name if name.startswith("-") else system / "mine" / name for name in options]
    task = RUNS[run]["task"]
    needed = {predict: f"{ANSWERED}; ", explain: "classify or multilabel; ", export: f"{ANSWERED} or colorize; "}[
        command
    ]
    others = "small, untrained, colors" if command is export else "small, untrained"
    match = rf"^run '{run}' has the task {task}, but this command needs {needed}runs that do: {others}$"
    with pytest.raises(UserError, match=match):
        call(command, system, *placed, "--run", run)
    assert not (system / "mine/why").exists()


def test_a_run_that_is_unknown_or_not_trained_is_refused(system: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'smal'; did you mean 'small'\?; known: small, untrained"):
        call(predict, system, system / "mine/a.png", "--run", "smal")
    with pytest.raises(UserError, match=r"untrained/record\.json: not found; run `dvc repro train@untrained`"):
        call(predict, system, system / "mine/a.png", "--run", "untrained")


def test_an_export_needs_the_test_pictures(system: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.parquet: not found; exports are checked on test examples"):
        call(export, system, "--run", "small", "--format", "onnx", "--out", tmp_path)


def test_an_export_without_its_packages_names_the_extra(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)  # as if it were not installed
    with pytest.raises(
        UserError, match=r"--format litert: .* ai_edge_litert .*; run `pip install 'lamina\[export\]'`$"
    ):
        call(export, system, "--run", "small")


def test_an_export_says_what_it_is_of(system: Path) -> None:
    record = finished_record("small", RUNS["small"], classes=CLASSES)
    about = export.about(record, system / "models/small/model.keras")
    assert (about["run"], about["classes"], about["system"]) == ("small", list(CLASSES), system.name)
    assert len(about["model"]) == 64
