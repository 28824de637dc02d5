"""Stage `ensembles`: means of runs, whole or not at all, which every command takes like a run."""

import contextlib
import json
import shutil
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from finished import CONVERT, write_profile
from lamina.commands import explain, export, gate, predict
from lamina.data.rows import open_rows
from lamina.errors import UserError
from lamina.files import write_json
from lamina.models.divided import Divided
from lamina.models.loading import load_model
from lamina.results.assessment import Assessment
from lamina.results.champion import read_champion
from lamina.results.record import read_record
from lamina.results.uncertainty import find_judge
from lamina.stages.ensembles import make_ensembles
from lamina.stages.evaluate import evaluate
from lamina.tasks.classify import tables
from lamina.tasks.classify.results import Metrics
from lamina.tasks.ensembles import read_ensembles
from lamina.tasks.wish import Wish
from lamina.tracking.records import read_tracked
from systems import NETWORK, folders_of, params_of, stage_of, train_run, write_stripes

CLASSES = ["lying", "upright"]
PROBABILITIES = ["p:lying", "p:upright"]
MEMBERS = ("first", "second")
RUNS = {
    "first": NETWORK | {"epochs": 2},
    "second": NETWORK | {"epochs": 1, "seed": 7, "views": 2},
}
BOTH = {"both": {"runs": list(MEMBERS)}}
FILES = {
    "model.keras", "record.json", "predictions.parquet", "metrics.json", "assessment.json", "crossvalidation.parquet",
    "sheets", "uncertainty",
}  # fmt: skip


def make(system: Path, ensembles: dict[str, Any] = BOTH) -> dict[str, Any]:
    """Run the stage in a system."""
    params = params_of(RUNS, ensembles=ensembles)
    return make_ensembles(read_ensembles(params).values(), folders_of(system), system, out=system / "ensembles")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with two trained runs and their ensemble."""
    folder = write_stripes(tmp_path_factory.mktemp("system"), train=24, validation=8, test=12, side=16)
    params = params_of(RUNS, convert=CONVERT | {"size": 16}, ensembles=BOTH)
    write_json(folder / "params.yaml", params)
    with contextlib.chdir(folder):
        for name in MEMBERS:
            stage = stage_of(RUNS[name], name=name)
            train_run(stage)
            evaluate(stage.folders, stage.out)
    make(folder)
    return folder


@pytest.fixture
def copied(system: Path, tmp_path: Path) -> Path:
    """The system, to be changed."""
    return shutil.copytree(system, tmp_path / "system")


def call(command: Any, system: Path, *options: object) -> int:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(["--system", str(system), *map(str, options)])))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- what it writes


def test_predictions_are_the_mean_of_those_of_the_runs(system: Path) -> None:
    assert {path.name for path in (system / "ensembles/both").iterdir()} == FILES
    each = [pd.read_parquet(system / "models" / name / "predictions.parquet") for name in MEMBERS]
    found = pd.read_parquet(system / "ensembles/both/predictions.parquet")
    assert (found["id"] == each[0]["id"]).all()
    mean = np.mean([table[PROBABILITIES].to_numpy() for table in each], axis=0)
    np.testing.assert_allclose(found[PROBABILITIES].to_numpy(), mean, atol=1e-6)
    assert list(found["predicted"]) == [CLASSES[place] for place in mean.argmax(axis=1)]


def test_the_saved_model_answers_pixels_with_the_mean_of_the_saved_models(system: Path) -> None:
    manifest = pd.read_parquet(system / "data/split/manifest.parquet")
    rows = open_rows(manifest[manifest["fold"] == "test"], folders_of(system))
    pixels = rows.read(np.arange(len(rows))).astype(np.float32)
    each = [load_model(system / "models" / name / "model.keras")(pixels).numpy() for name in MEMBERS]
    found = load_model(system / "ensembles/both/model.keras")(pixels).numpy()
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)


def test_the_record_names_the_runs_and_their_keys(system: Path) -> None:
    record = read_record(system / "ensembles/both")
    runs = [read_record(system / "models" / name) for name in MEMBERS]
    assert record.members == {run.run: run.key for run in runs}
    assert (record.run, record.task, record.input) == ("both", "classify", "pixels")
    assert (record.classes, record.width) == (CLASSES, 16)
    assert record.parameters == sum(run.parameters or 0 for run in runs)


def test_another_key_of_a_run_is_another_key_of_the_ensemble(copied: Path) -> None:
    before = read_record(copied / "ensembles/both").key
    path = copied / "models/second/record.json"
    write_json(path, json.loads(path.read_text()) | {"key": "another"})
    make(copied)
    assert read_record(copied / "ensembles/both").key != before


def test_again_it_writes_the_same_bytes(copied: Path) -> None:
    before = bytes_of(copied / "ensembles")
    make(copied)
    assert bytes_of(copied / "ensembles") == before


def test_no_ensembles_leave_an_empty_folder(copied: Path) -> None:
    assert make(copied, {}) == {}
    assert list((copied / "ensembles").iterdir()) == []


# ---- cross-validation


def write_crossvalidation(
    system: Path, name: str, seed: int, rows: int = 12, *, from_file: bool = False
) -> pd.DataFrame:
    """Write a run's cross-validation of three rounds; return its table."""
    share = np.random.default_rng(seed).uniform(0, 1, rows).astype(np.float32)
    ids = [f"{number:016x}" for number in range(rows)]
    table = pd.DataFrame({"id": ids, "origin": ids, "fold": np.arange(rows, dtype=np.int8) % 3})
    table["label"] = [CLASSES[number % 2] for number in range(rows)]
    table["predicted"] = np.where(share < 0.5, *CLASSES[::-1])
    table = table.assign(**dict(zip(PROBABILITIES, (share, 1 - share), strict=True)))
    table.to_parquet(system / "models" / name / "crossvalidation.parquet", index=False)
    crossed = {"scores": {"accuracy": 0.5}, "folds": [], "starts_from_file": from_file}
    write_json(system / "models" / name / "assessment.json", {"crossvalidation": crossed})
    return table


def assessment(system: Path) -> Assessment:
    return Assessment.model_validate_json((system / "ensembles/both/assessment.json").read_bytes())


def test_a_cross_validation_is_the_mean_of_those_of_the_runs(copied: Path) -> None:
    each = [write_crossvalidation(copied, name, seed, from_file=seed == 2) for seed, name in enumerate(MEMBERS, 1)]
    make(copied)
    found = pd.read_parquet(copied / "ensembles/both/crossvalidation.parquet")
    mean = np.mean([table[PROBABILITIES].to_numpy() for table in each], axis=0)
    np.testing.assert_allclose(found[PROBABILITIES].to_numpy(), mean, atol=1e-6)
    assert found[["id", "origin", "fold", "label"]].equals(each[0][["id", "origin", "fold", "label"]])
    right = found["label"] == found["predicted"]
    crossed = assessment(copied).crossvalidation
    assert crossed is not None
    assert crossed.scores["accuracy"] == pytest.approx(right.mean())
    assert [fold.value for fold in crossed.folds] == pytest.approx(list(right.groupby(found["fold"]).mean()))
    assert [fold.n for fold in crossed.folds] == [4, 4, 4]
    assert crossed.starts_from_file


@pytest.mark.parametrize(
    "rows", [pytest.param(0, marks=pytest.mark.nightly, id="none"), pytest.param(9, id="other rows")]
)
def test_without_the_same_rows_in_all_runs_there_is_no_cross_validation(copied: Path, rows: int) -> None:
    write_crossvalidation(copied, "first", 1)
    if rows:
        write_crossvalidation(copied, "second", 2, rows)
    make(copied)
    assert assessment(copied).is_empty
    assert pd.read_parquet(copied / "ensembles/both/crossvalidation.parquet").empty


# ---- what is refused


def change_record(system: Path, **values: object) -> None:
    path = system / "models/second/record.json"
    write_json(path, json.loads(path.read_text()) | values)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s: shutil.rmtree(s / "models/second"), r"second/record\.json: not found; run `dvc repro train@second`"),
        (lambda s: (s / "models/second/model.keras").unlink(), r"second/model\.keras: no model; train the run first"),
        (
            lambda s: change_record(s, classes=CLASSES[::-1]),
            r"ensembles\.both: expected runs with the same classes, got \['lying', 'upright'\] of first and "
            r"\['upright', 'lying'\] of second; run `dvc repro`, or name other runs",
        ),
        (lambda s: change_record(s, width=32), r"the same sides of pictures, got 16 of first and 32 of second"),
    ],
    ids=["run", "model", "classes", "size"],
)
def test_nothing_is_written_if_runs_are_missing_or_differ(
    copied: Path, damage: Callable[[Path], object], words: str
) -> None:
    before = bytes_of(copied / "ensembles")
    damage(copied)
    with pytest.raises(UserError, match=words) as caught:
        make(copied)
    assert "\n" not in str(caught.value)
    assert bytes_of(copied / "ensembles") == before
    assert not list(copied.glob(".part-*"))


# ---- commands


@pytest.fixture(scope="module")
def picture(system: Path) -> Path:
    path = system / "new.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    return path


def probabilities(system: Path, name: str, picture: Path) -> np.ndarray:
    (found,) = predict.predict(system, name, [picture])
    return np.array(list(found.probabilities.values()))


def test_predict_gives_the_mean(system: Path, picture: Path) -> None:
    each = [probabilities(system, name, picture) for name in MEMBERS]
    np.testing.assert_allclose(probabilities(system, "both", picture), np.mean(each, axis=0), atol=1e-6)


def test_an_ensemble_has_features_of_its_own_and_says_its_doubt(system: Path, picture: Path) -> None:
    (found,) = predict.predict(system, "both", [picture], Wish(coverage=0.8))
    assert found.scaled
    assert sum(found.scaled.values()) == pytest.approx(1)
    assert found.set is not None
    assert found.distance is not None
    judge = find_judge(system / "ensembles/both", read_record(system / "ensembles/both").key)
    assert judge
    assert judge.known.neighborhood
    network = Divided(load_model(system / "ensembles/both/model.keras"))
    pixels = open_rows(pd.read_parquet(system / "data/split/manifest.parquet"), folders_of(system)).read(np.arange(3))
    joined = network.features(pixels)
    each = [Divided(load_model(system / "models" / name / "model.keras")).features(pixels) for name in MEMBERS]
    np.testing.assert_allclose(joined, np.hstack(each) / np.sqrt(2), atol=1e-5)


def test_predict_knows_the_names_of_ensembles(system: Path, picture: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'bothe'; did you mean 'both'\?; known: first, second, both"):
        predict.predict(system, "bothe", [picture])
    with pytest.raises(UserError, match=r"'both' has the task classify, but this command needs colorize"):
        predict.read_learned(system, "both", ["colorize"])


def test_a_request_and_a_sheet_of_an_ensemble(
    system: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(predict, system, picture, "--run", "both", "--request") == 0
    assert np.shape(json.loads(capsys.readouterr().out)["inputs"]) == (1, 16, 16, 3)
    assert call(explain, system, picture, "--run", "both", "--out", tmp_path / "why") == 0
    assert (tmp_path / "why/new.png").exists()


def test_export_agrees_with_keras_and_names_the_ensemble(system: Path, tmp_path: Path) -> None:
    (line,) = export.export(system, "both", ["onnx"], tmp_path)
    assert "within" in line
    exported = json.loads((tmp_path / "onnx/export.json").read_text())
    assert (exported["run"], exported["system"]) == ("both", system.name)
    assert exported["key"] == read_record(system / "ensembles/both").key


def test_the_gate_guards_an_ensemble_and_may_make_it_the_champion(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    write_profile(copied)
    for name, value in (("models/first", 0.5), ("models/second", 0.5), ("ensembles/both", 0.9)):
        path = copied / name / "metrics.json"
        metrics = json.loads(path.read_text())
        metrics["validation"]["accuracy"] = value
        write_json(path, metrics)
    gate.accept(copied)
    champion = read_champion(copied)
    assert champion is not None
    assert champion.run == "both"
    assert champion.is_in(copied)
    assert (copied / "baselines/both.csv").exists()
    assert call(gate, copied) == 0
    path = copied / "ensembles/both/predictions.parquet"
    table = pd.read_parquet(path)
    table.assign(predicted=np.where(table["label"] == "lying", "upright", "lying")).to_parquet(path, index=False)
    capsys.readouterr()
    assert call(gate, copied) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("both ")]
    assert "regressed" in line
    shutil.rmtree(copied / "ensembles")
    assert call(gate, copied) == 2
    assert "ensembles/both/predictions.parquet" in capsys.readouterr().out


def test_tracking_and_the_report_read_an_ensemble_without_a_history(system: Path) -> None:
    tracked = read_tracked(system, "both")
    assert tracked.epochs == []
    assert tracked.run.duration is None
    assert tracked.model == system / "ensembles/both/model.keras"
    assert isinstance(tracked.run.metrics, Metrics)
    runs = tables.ranked([read_tracked(system, name).run for name in (*MEMBERS, "both")])
    found = tables.comparison(runs)
    assert found is not None
    assert set(found.rows) == {*MEMBERS, "both"}


def test_a_missing_ensemble_is_made_by_the_stage_of_all(copied: Path) -> None:
    shutil.rmtree(copied / "ensembles/both")
    with pytest.raises(UserError, match=r"ensembles/both/record\.json: not found; run `dvc repro ensembles`"):
        read_tracked(copied, "both")
