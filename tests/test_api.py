"""`lamina.open`: results as objects and tables, the answers of `lamina predict`, and what is refused."""

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lamina
from finished import CONVERT, finished_record, run_settings, write_params
from lamina.commands import predict
from lamina.errors import UserError
from lamina.files import write_json
from lamina.results.uncertainty import FOLDER, KNOWN
from tracked import CLASSES, EPOCHS, write_color_run, write_run

RUNS = {"tiny": run_settings("head"), "colors": run_settings("colorizer"), "later": run_settings("network")}
SIZE = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A system with a finished classifier, a finished colorizer, and a run that is not trained yet."""
    write_params(tmp_path, RUNS)
    write_run(tmp_path)
    write_color_run(tmp_path)
    return tmp_path


def modules_after(code: str) -> set[str]:
    """Return the names of all modules that are loaded after some code has run in a new process."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_the_import_loads_nothing_else() -> None:
    before, after = modules_after("import typing"), modules_after("import lamina")
    assert {name for name in after - before if not name.startswith("_")} == {"lamina"}


def test_opening_a_system_loads_neither_tables_nor_networks(folder: Path) -> None:
    code = f"import lamina; print(lamina.open({str(folder)!r}).runs['tiny'].metrics.test.accuracy)"
    assert not {"pandas", "tensorflow", "keras", "jax", "mlflow"} & modules_after(code)


def test_every_public_name_is_there() -> None:
    assert dir(lamina) == lamina.__all__
    assert all(getattr(lamina, name) is not None for name in lamina.__all__)
    with pytest.raises(AttributeError, match="module 'lamina' has no attribute 'opne'"):
        _ = lamina.opne  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["metrics", "predictions"])
def test_results_of_an_earlier_training_are_refused(folder: Path, what: str) -> None:
    run = lamina.open(folder).runs["tiny"]
    known = run.folder / FOLDER / KNOWN
    write_json(known, {"key": run.record.key})
    assert getattr(run, what) is not None
    assert run.is_trained
    write_json(known, {"key": "b" * 64})
    assert not run.is_trained, "its results are not all there"
    with pytest.raises(UserError, match="tiny: its scores are those of an earlier training; run `dvc repro evaluate@"):
        getattr(run, what)


def test_the_results_of_a_run_are_those_of_its_files(folder: Path) -> None:
    system = lamina.open(folder)
    assert list(system.runs) == ["tiny", "colors", "later"]
    assert [run.task.name for run in system.runs.values()] == ["classify", "colorize", "classify"]
    assert [run.is_trained for run in system.runs.values()] == [True, True, False]
    run = system.runs["tiny"]
    assert (run.metrics.test.value, run.metrics.test.interval) == (0.75, (0.5, 0.9))
    assert system.runs["colors"].metrics.test.value == 100.0
    assert run.config == json.loads((run.folder / "record.json").read_text())["settings"]
    assert run.record.classes == list(CLASSES)
    assert list(run.history["epoch"]) == list(range(1, EPOCHS + 1))
    assert run.predictions.equals(pd.read_parquet(run.folder / "predictions.parquet"))
    assert run.assessment.is_empty


def test_tuned_numbers_take_the_place_of_the_word_tune(folder: Path) -> None:
    path = folder / "models/tiny/record.json"
    record = json.loads(path.read_text())
    record["settings"]["learning_rate"], record["numbers"]["learning_rate"] = "tune", 0.0123
    write_json(path, record)
    assert lamina.open(folder).runs["tiny"].config["learning_rate"] == 0.0123


def test_the_system_knows_report_manifest_and_champion(folder: Path) -> None:
    system = lamina.open(str(folder))
    with pytest.raises(UserError, match=r"index\.html: not found; write it with `dvc repro report`"):
        _ = system.report
    with pytest.raises(UserError, match=r"manifest\.parquet: not found; run `dvc repro split`"):
        _ = system.manifest
    assert system.champion is None
    (folder / "reports").mkdir()
    (folder / "reports/index.html").touch()
    (folder / "data/split").mkdir(parents=True)
    pd.DataFrame({"id": ["a"], "origin": ["a"], "fold": ["test"]}).to_parquet(folder / "data/split/manifest.parquet")
    accepted = {"run": "tiny", "key": "a", "model": "b", "measure": "accuracy", "validation": 0.75}
    write_json(folder / "baselines/champion.json", accepted)
    assert system.report == folder / "reports/index.html"
    assert list(system.manifest["fold"]) == ["test"]
    assert system.champion == system.runs["tiny"]


def test_what_is_not_there_is_refused_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = lamina.open(folder)
    with pytest.raises(UserError, match=r"no run 'tinny'; did you mean 'tiny'\?; known: tiny, colors, later$"):
        _ = system.runs["tinny"]
    assert "tinny" not in system.runs
    assert system.runs.get("tinny") is None
    with pytest.raises(UserError, match=r"later/record\.json: not found; run `dvc repro train@later`"):
        _ = system.runs["later"].config
    with pytest.raises(UserError, match=r"later/metrics\.json: not found; run `dvc repro evaluate@later`"):
        _ = system.runs["later"].metrics
    with pytest.raises(UserError, match=r"run 'colors' has the task colorize, but this command needs classify"):
        system.runs["colors"].predict(folder)
    monkeypatch.chdir(folder / "models")
    with pytest.raises(UserError, match=r"models: no system there; expected a folder with params\.yaml"):
        lamina.open()


def test_predictions_are_those_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    write_params(tmp_path, {"small": run_settings("network")}, convert=CONVERT | {"size": SIZE})
    record = finished_record("small", run_settings("network"), classes=("cat", "dog"), width=SIZE)
    record.write(tmp_path / "models/small/record.json")
    save_model(build_network("small_cnn", SIZE, 2, dropout=0.5, seed=3), tmp_path / "models/small/model.keras")
    draw, mine = np.random.default_rng(0), tmp_path / "mine"
    mine.mkdir()
    for name in ("a", "b"):
        Image.fromarray(draw.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(mine / f"{name}.png")
    (mine / "broken.png").write_bytes(b"nothing")
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    predict.add_arguments(parser)
    predict.run(parser.parse_args(["--system", str(tmp_path), str(mine), "--run", "small", "--json"]))
    expected = json.loads(capsys.readouterr().out)

    table = lamina.open(tmp_path).runs["small"].predict(mine)
    assert list(table.columns) == ["path", "predicted", "p:cat", "p:dog", "error"]
    assert list(table["path"]) == [one["path"] for one in expected]
    good = table[table["error"].isna()]
    assert list(good["predicted"]) == [one["predicted"] for one in expected if not one["error"]]
    assert good["p:cat"].tolist() == [one["probabilities"]["cat"] for one in expected if not one["error"]]
    (broken,) = table[table["error"].notna()].to_dict("records")
    assert broken["error"].startswith("unreadable")
    assert pd.isna(broken["predicted"])
    assert np.isnan(broken["p:cat"])
    assert len(lamina.open(tmp_path).runs["small"].predict([mine / "a.png", str(mine / "b.png")])) == 2
    nothing = lamina.open(tmp_path).runs["small"].predict([])
    assert (len(nothing), list(nothing)) == (0, list(table))
