"""The stage `train`: the same bytes each time, also after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from lamina.data.rows import Folders
from lamina.inputs.features import FeaturesSettings
from lamina.models.keras_runtime import keras
from lamina.results.record import read_record
from lamina.stages.evaluate import evaluate
from lamina.stages.extract import extract_features
from lamina.training.callbacks import NoCallbacks
from lamina.training.checkpoint import Checkpoint
from lamina.tuning.numbers import write_numbers
from systems import COLORS, FEATURES, HEAD, LIGHT, NETWORK, params_of, stage_of, train_run, write_stripes

SIDE = 32
FINE = HEAD | {"fine_tune": {"layers": 2, "epochs": 3, "learning_rate": 1e-4}}
EVERYTHING = NETWORK | {
    "patience": 3, "class_weights": "balanced", "label_smoothing": 0.1, "ema_decay": 0.9, "augmentation": "fresh",
    "precision": "bfloat16",
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "head": HEAD, "network": NETWORK, "fine": FINE, "all": EVERYTHING,
    "colors": COLORS | {"epochs": 3, "ema_decay": 0.9}, "light": LIGHT | {"epochs": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of stripes with features of `small_cnn`, and numbers for runs that are started as processes."""
    root = write_stripes(tmp_path_factory.mktemp("system"), train=40, validation=16, test=16)
    before = Path.cwd()
    os.chdir(root)
    try:
        extract_features(FeaturesSettings.model_validate(FEATURES), Folders(), Path("data/features/small"), seed=1)
    finally:
        os.chdir(before)
    (root / "params.yaml").write_text(json.dumps(params_of(RUNS)))
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("name", ["network", pytest.param("head", marks=pytest.mark.nightly)])
def test_two_runs_are_the_same_to_the_byte(name: str, tmp_path: Path) -> None:
    for out in (tmp_path / "one", tmp_path / "two"):
        keras.backend.clear_session()  # as in a process of its own: layers are counted from the first again
        train_run(stage_of(RUNS[name], out, name=name))
        evaluate(Folders(), out)
    for file in ("metrics.json", "history.csv", "predictions.parquet", "record.json", "model.keras"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


@pytest.mark.parametrize("name", ["head", pytest.param("colors", marks=pytest.mark.nightly)])
def test_the_record_holds_what_the_run_was_configured_with(name: str, tmp_path: Path) -> None:
    keys = []
    for changes in ({}, {}, {"epochs": 2}):
        train_run(stage_of(RUNS[name] | {"epochs": 1} | changes, tmp_path, name=name))
        record = read_record(tmp_path)
        keys.append(record.key)
    assert keys[0] == keys[1] != keys[2]
    assert (record.run, record.task, record.input) == (name, RUNS[name]["task"], RUNS[name]["input"])
    assert record.settings["epochs"] == 2
    assert record.numbers["learning_rate"] == RUNS[name]["learning_rate"]
    assert record.width == SIDE
    assert record.classes == (["lying", "upright"] if name == "head" else [])
    assert record.data["rows"]["validation"] == 16
    assert json.loads((tmp_path / "timing.json").read_text())["seconds"].keys() == {"load", "train", "save"}


class Killed(NoCallbacks):
    """Ends training after an epoch."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_epoch_end(self, row: dict[str, float]) -> None:
        if row["epoch"] == self.after:
            raise KeyboardInterrupt


class Watching(NoCallbacks):
    """Keeps the epochs of the pictures that it is called with."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_picture(self, name: str, epoch: int, image: Image.Image) -> None:
        assert image.size == (10 * SIDE, SIDE)
        self.seen.append(epoch)


@pytest.mark.parametrize("name", ["colors", pytest.param("light", marks=pytest.mark.nightly)])
def test_an_interrupted_training_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    whole, cut = (stage_of(RUNS[name], tmp_path / folder, name=name) for folder in ("whole", "cut"))
    keras.backend.clear_session()
    train_run(whole)
    resume, watching = tmp_path / "resume", Watching()
    keras.backend.clear_session()
    with pytest.raises(KeyboardInterrupt):
        train_run(cut, Killed(2), resume=resume)
    assert bool(list((resume / name).glob("*/epoch-*.png"))) == (name == "colors")
    train_run(cut, watching, resume=resume)
    assert watching.seen == ([1, 2] if name == "colors" else [])
    progress = ["progress/learning.png"] if name == "colors" else []
    for file in ("model.keras", "history.csv", "record.json", *progress):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert not (resume / name).exists()


def start(name: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "lamina.stages.train", name], cwd=folder)


def saved_epochs(folder: Path, name: str) -> int:
    for file in (folder / ".lamina/training" / name).glob("????????????????.npz"):
        state = Checkpoint(file).load()
        return len(state.history) if state else 0
    return 0


def outputs(folder: Path, name: str) -> dict[str, bytes]:
    files = ("model.keras", "history.csv", "record.json")
    return {file: (folder / "models" / name / file).read_bytes() for file in files}


@pytest.mark.nightly
def test_a_killed_training_ends_with_the_same_bytes(system: Path, tmp_path: Path) -> None:
    from lamina.tracking import store

    name = "all"
    write_numbers(system / "models" / name / "tuned.yaml", stage_of(RUNS[name]).run.settings.given_numbers())
    store.open_store(system)  # or the kill might come while it is being made
    process = start(name, system)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline and not saved_epochs(system, name):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "training ended before it could be killed"
    kept = saved_epochs(system, name)
    assert 1 <= kept < 4
    assert not (system / "models" / name / "model.keras").exists()
    assert start(name, system).wait() == 0
    resumed = outputs(system, name)
    assert not (system / ".lamina/training" / name).exists(), "the saved state is removed"
    assert_each_epoch_once(system, name)
    keras.backend.clear_session()
    train_run(stage_of(RUNS[name], tmp_path, name=name))
    for file, content in resumed.items():
        assert (tmp_path / file).read_bytes() == content, file


def assert_each_epoch_once(system: Path, name: str) -> None:
    """MLflow shows a killed and resumed run as one, with no epoch twice; a busy store may lack the last."""
    from lamina.tracking import store

    opened = store.open_store(system)
    [run] = opened.client.search_runs(
        [experiment.experiment_id for experiment in opened.client.search_experiments()],
        f"attributes.run_name = '{name}'",
    )
    history = pd.read_csv(system / "models" / name / "history.csv")
    logged = opened.client.get_metric_history(run.info.run_id, "validation_loss")
    assert logged
    assert [metric.step for metric in logged] == history["epoch"].tolist()[: len(logged)]
    assert [metric.value for metric in logged] == history["validation_loss"].tolist()[: len(logged)]
