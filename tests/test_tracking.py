"""MLflow: every run once and in full, and no training that waits for it."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.commands import track
from lamina.errors import UserError
from lamina.maths.color import UNITS, lab_to_srgb, srgb_to_lab
from lamina.tracking import live, runs, store
from lamina.tracking import sync as completion
from lamina.tracking.sync import assessed, scores, sync, sync_or_warn
from lamina.training.callbacks import Callbacks, Silent

CLASSES = ["eosinophil", "large/odd name"]
EPOCHS = 4
SIDE = 16  # of what a colorizer colors


def record(key: str = "a", run: str = "tiny") -> dict[str, Any]:
    return {
        "run": run,
        "system": "cells",
        "kind": "transfer",
        "key": key * 64,
        "params": {"split": {"test": 0.3}, "transfer": {"epochs": EPOCHS, "weights": None}},
        "tuned": {"learning_rate": 0.001, "dropout": 0.5, "decay": 0.0},
        "seed": 13,
        "classes": CLASSES,
        "size": 8,
        "data": {"digest": "d" * 64, "rows": {"train": 10, "validation": 2, "test": 4}},
        "environment": {"python": "3.11.2", "keras": "3.15.1", "numpy": "1.2.3"},
        "commit": "c" * 40,
    }


def history() -> list[dict[str, float]]:
    columns = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
    return [{"epoch": n, **dict.fromkeys(columns, 1 / n)} for n in range(1, EPOCHS + 1)]


def write_run(system: Path, key: str = "a", run: str = "tiny", model: bytes = b"not opened") -> Path:
    folder = system / "models" / run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(record(key, run)))
    pd.DataFrame(history()).to_csv(folder / "history.csv", index=False)
    (folder / "trials.csv").write_text(
        "number,state,value,learning_rate,dropout,decay,epochs\n"
        "0,COMPLETE,0.8,0.001,0.5,0.0,4\n1,PRUNED,0.5,0.1,0.2,0.0,1\n2,COMPLETE,0.0,0.1,0.3,0.0,0\n"
    )
    scores = {"precision": 0.25, "recall": 0.5, "f1": 1 / 3, "n": 2}
    fold = {"accuracy": 0.75, "interval": [0.5, 0.9], "n": 4, "origins": 4, "macro_f1": 0.7, "majority": 0.5}
    fold["per_class"] = dict.fromkeys(CLASSES, scores)
    (folder / "metrics.json").write_text(json.dumps({"test": fold, "validation": fold}))
    (folder / "timing.json").write_text(json.dumps({"seconds": {"train": 1.5}, "machine": {"cores": 2}}))
    rows = pd.DataFrame({"label": [CLASSES[0], *CLASSES], "predicted": [CLASSES[0], *CLASSES[::-1]]})
    rows.to_csv(folder / "confusion.csv", index=False)
    names = [f"{number:016x}" for number in range(len(rows))]
    shares = pd.DataFrame({name: (rows["predicted"] == name).astype(float) for name in CLASSES})
    predictions = pd.concat([pd.DataFrame({"id": names, "origin": names}), rows, shares], axis=1)
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    (folder / "model.keras").write_bytes(model)
    return folder


def write_color_run(
    system: Path, run: str = "colors", key: str = "a", validation: float = 80.0, test: float = 100.0
) -> Path:
    """What the stages leave of a colorizer with these mean squared errors."""
    folder = system / "models" / run
    folder.mkdir(parents=True, exist_ok=True)
    told = record(key, run) | {"kind": "colorize", "classes": [], "size": SIDE}
    (folder / "record.json").write_text(json.dumps(told))
    columns = ("train_loss", "train_mse", "validation_loss", "validation_mse", "learning_rate")
    rows = [{"epoch": n, **dict.fromkeys(columns, 1 / n)} for n in range(1, EPOCHS + 1)]
    pd.DataFrame(rows).to_csv(folder / "history.csv", index=False)
    (folder / "trials.csv").write_text(
        "number,state,value,learning_rate,dropout,decay,epochs\n0,COMPLETE,80.5,0.001,0.5,0.0,4\n"
    )
    blocks = {"test": color_block(test), "validation": color_block(validation)}
    (folder / "metrics.json").write_text(json.dumps(blocks))
    names = [f"{number:016x}" for number in range(4)]
    errors = {"id": names, "origin": names, "mse": [test] * 4, "grey_mse": [2 * test] * 4}
    pd.DataFrame(errors).to_parquet(folder / "predictions.parquet", index=False)
    (folder / "model.keras").write_bytes(b"not opened")
    for name in ("colors", "extremes", "learning"):
        Image.new("RGB", (4, 4), len(name)).save(folder / f"{name}.png")
    (folder / "looked_at.png").write_bytes(b"of a classifier")
    return folder


def color_block(mse: float) -> dict[str, Any]:
    """A fold's scores in `metrics.json` of a colorizer."""
    measures = {
        name: {"value": value, "interval": [0.95 * value, 1.05 * value], "grey": 2 * value, "mean": 1.5 * value}
        for name, value in {"mse": mse, "colorfulness": 20.0}.items()
    }
    measures["colorfulness"]["true"] = 30.0
    against = {"grey": {"difference": -mse, "interval": [-1.5 * mse, -0.5 * mse]}}
    return {"n": 4, "origins": 4, "measures": measures, "against": against}


def test_scores_of_colors_are_tracked_by_names_of_their_own() -> None:
    assert scores({"test": color_block(100.0)}) == {
        "test_n": 4, "test_origins": 4,
        "test_mse": 100, "test_mse_low": 95, "test_mse_high": 105, "test_mse_grey": 200, "test_mse_mean": 150,
        "test_colorfulness": 20, "test_colorfulness_low": 19, "test_colorfulness_high": 21,
        "test_colorfulness_grey": 40, "test_colorfulness_mean": 30, "test_colorfulness_true": 30,
        "test_against_grey_difference": -100,
        "test_against_grey_difference_low": -150, "test_against_grey_difference_high": -50,
    }  # fmt: skip


@pytest.mark.parametrize("interval", [None, [None, None], [-np.inf, np.inf]])
def test_an_interval_that_one_origin_cannot_show_is_left_out(interval: Any) -> None:
    told = scores({"test": {"measures": {"mse": {"value": 5.0, "interval": interval, "grey": 6.0, "mean": 7.0}}}})
    assert told == {"test_mse": 5, "test_mse_grey": 6, "test_mse_mean": 7}


def test_what_training_again_told_is_tracked_by_names_of_their_own() -> None:
    fold = {"accuracy": 0.8, "interval": [0.7, 0.9], "folds": [{"accuracy": 0.8, "n": 5}], "confusion": {"a": {"a": 1}}}
    fold["per_class"] = {"a": {"recall": 0.5}}
    spread = {"accuracies": [0.7], "mean": 0.7, "deviation": None}
    control = {"accuracy": 0.3, "chance": 0.25, "interval": [0.1, 0.4], "p": 0.2, "passed": True, "n": 9}
    told = {
        "crossvalidation": fold,
        "control": control,
        "repeats": {"seeds": [2], "test": spread, "validation": spread},
    }
    assert scores(assessed(told)) == {
        "crossvalidation_accuracy": 0.8, "crossvalidation_accuracy_low": 0.7, "crossvalidation_accuracy_high": 0.9,
        "crossvalidation_recall_a": 0.5,
        "control_accuracy": 0.3, "control_chance": 0.25, "control_p": 0.2, "control_passed": 1.0,
        "repeats_test_mean": 0.7, "repeats_validation_mean": 0.7,
    }  # fmt: skip
    assert assessed(dict.fromkeys(told)) == assessed({}) == {}


def test_what_training_a_colorizer_again_told_is_tracked_as_well() -> None:
    mse = {"value": 90.0, "interval": [80.0, 99.0], "grey": 200.0, "mean": 140.0}
    crossed: dict[str, Any] = {"n": 5, "origins": 4, "measures": {"mse": mse}, "starts_from_file": False}
    crossed |= {"against": {"mean": {"difference": -50.0, "interval": [-60.0, -40.0]}}, "folds": [{"mse": 90, "n": 5}]}
    spread = {"mse": [91.0, 93.0], "mean": 92.0, "deviation": 1.4}
    repeats = {"seeds": [2, 3], "test": spread, "validation": spread}
    assert scores(assessed({"crossvalidation": crossed, "repeats": repeats})) == {
        "crossvalidation_n": 5, "crossvalidation_origins": 4, "crossvalidation_starts_from_file": 0,
        "crossvalidation_mse": 90, "crossvalidation_mse_low": 80, "crossvalidation_mse_high": 99,
        "crossvalidation_mse_grey": 200, "crossvalidation_mse_mean": 140,
        "crossvalidation_against_mean_difference": -50,
        "crossvalidation_against_mean_difference_low": -60, "crossvalidation_against_mean_difference_high": -40,
        "repeats_test_mean": 92, "repeats_test_deviation": 1.4,
        "repeats_validation_mean": 92, "repeats_validation_deviation": 1.4,
    }  # fmt: skip


def test_calibration_is_tracked_with_the_interval_of_its_error() -> None:
    calibration = {"ece": 0.1, "interval": [0.05, 0.2], "by_chance": 0.04, "brier": 0.3, "log_loss": 0.5}
    assert scores({"test": {"calibration": calibration}}) == {
        "test_ece": 0.1, "test_ece_low": 0.05, "test_ece_high": 0.2, "test_brier": 0.3, "test_log_loss": 0.5
    }  # fmt: skip


def test_another_assessment_is_another_state(system: Path) -> None:
    assert sync(system, "tiny") == "tracked"
    assert sync(system, "tiny") == "already there"
    told = {"control": {"accuracy": 0.3, "chance": 0.25, "p": 0.2, "passed": True}}
    (system / "models" / "tiny" / "assessment.json").write_text(json.dumps(told))
    assert sync(system, "tiny") == "tracked"
    [run] = shown(system)
    assert run.data.metrics["control_chance"] == 0.25


def shown(system: Path) -> list[Any]:
    """The runs that a person sees at first, trials left out."""
    return [run for run in all_runs(system) if runs.PARENT not in run.data.tags]


def trials(system: Path) -> list[Any]:
    return [run for run in all_runs(system) if runs.PARENT in run.data.tags]


def all_runs(system: Path) -> list[Any]:
    client = store.open_store(system).client
    experiment = client.get_experiment_by_name("cells")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("empty")
    store.open_store(folder)
    return (folder / "mlflow" / "mlflow.db").read_bytes()


@pytest.fixture
def system(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with a trained run and an empty store, in a project of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "project" / ".dvc").mkdir(parents=True)
    (tmp_path / "project" / "mlflow").mkdir()
    (tmp_path / "project" / "mlflow" / "mlflow.db").write_bytes(empty_database)
    system = tmp_path / "project" / "pipelines" / "cells"
    system.mkdir(parents=True)
    (system / "params.yaml").write_text("transfer: {runs: {tiny: {}, later: {}}}\nscratch: {runs: {}}\n")
    write_run(system)
    return system


def images(system: Path) -> dict[str, Path]:
    """The files of the pictures that the one run shows, by name: `NAME+step+EPOCH+...`, sorted; previews left out."""
    (run,) = shown(system)
    folder = system.parents[1] / "mlflow" / "artifacts" / run.info.run_id / "artifacts" / "images"
    return {path.name: path for path in sorted(folder.glob("*.png"))}


def follow(system: Path, key: str = "a", between: Callable[[Callbacks], object] = lambda _: None) -> None:
    """Train as a callbacks sees it; `between` happens in the middle, when the first half was passed on."""
    callbacks: Callbacks = live.LiveRun(system)
    callbacks.start(record(key))
    for row in history()[: EPOCHS // 2]:
        callbacks.epoch(row)
    between(callbacks)
    for row in history()[EPOCHS // 2 :]:
        callbacks.epoch(row)
    callbacks.finish()


class TestComplete:
    def test_a_run_is_told_in_full(self, system: Path) -> None:
        assert sync(system, "tiny") == "tracked"
        (run,) = shown(system)
        assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
        assert len(run.data.tags["lamina.complete"]) == 64
        assert run.data.tags["lamina.key"] == "a" * 64
        assert run.data.tags["commit"] == run.data.tags["mlflow.source.git.commit"] == "c" * 40
        assert (run.data.tags["data"], run.data.tags["system"], run.data.tags["kind"]) == (
            "d" * 64,
            "cells",
            "transfer",
        )
        told = {"split.test": "0.3", "transfer.weights": "null", "tuned.dropout": "0.5", "seed": "13"}
        assert told.items() <= run.data.params.items()
        assert run.data.metrics["test_accuracy"] == 0.75
        assert (run.data.metrics["test_accuracy_low"], run.data.metrics["validation_accuracy_high"]) == (0.5, 0.9)
        assert run.data.metrics["test_f1_large_odd name"] == pytest.approx(1 / 3)
        assert run.data.metrics["seconds_train"] == 1.5

    def test_every_epoch_is_there_once(self, system: Path) -> None:
        sync(system, "tiny")
        self.assert_history(system)

    @staticmethod
    def assert_history(system: Path) -> None:
        client = store.open_store(system).client
        (run,) = shown(system)
        for name in ("train_loss", "learning_rate"):
            told = client.get_metric_history(run.info.run_id, name)
            assert [(m.step, m.value) for m in told] == [(row["epoch"], row[name]) for row in history()]

    def test_trials_are_nested_runs(self, system: Path) -> None:
        sync(system, "tiny")
        (run,) = shown(system)
        told = sorted(trials(system), key=lambda trial: trial.info.run_name)
        assert [trial.data.tags[runs.PARENT] for trial in told] == [run.info.run_id] * 3
        assert [trial.data.tags["state"] for trial in told] == ["COMPLETE", "PRUNED", "COMPLETE"]
        assert [trial.info.status for trial in told] == ["FINISHED", "KILLED", "FINISHED"]
        assert told[0].data.params == {"learning_rate": "0.001", "dropout": "0.5", "decay": "0.0"}
        assert told[0].data.metrics == {"validation_accuracy": 0.8, "epochs": 4}
        assert told[2].data.metrics == {"validation_accuracy": 0, "epochs": 0}, "it diverged"

    def test_record_files_and_figures_are_kept(self, system: Path) -> None:
        folder = system / "models" / "tiny"
        sync(system, "tiny")
        (run,) = shown(system)
        kept = system.parents[1] / "mlflow" / "artifacts" / run.info.run_id / "artifacts"
        names = {path.name for path in folder.iterdir()} - {"model.keras"}
        assert {path.name for path in (kept / "record").iterdir()} == names
        for name in names:
            assert (kept / "record" / name).read_bytes() == (folder / name).read_bytes()
        for name in ("loss", "accuracy", "confusion"):
            assert (kept / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_twice_is_once(self, system: Path) -> None:
        sync(system, "tiny")
        before = shown(system)
        assert sync(system, "tiny") == "already there"
        assert [run.to_dictionary() for run in shown(system)] == [run.to_dictionary() for run in before]
        assert len(trials(system)) == 3

    def test_other_results_replace_those_of_the_same_key(self, system: Path) -> None:
        sync(system, "tiny")
        (before,) = shown(system)
        metrics = json.loads((system / "models" / "tiny" / "metrics.json").read_text())
        metrics["test"] |= {"accuracy": 0.25, "interval": [0.1, 0.4]}
        (system / "models" / "tiny" / "metrics.json").write_text(json.dumps(metrics))
        assert sync(system, "tiny") == "tracked"
        (run,) = shown(system)
        assert run.data.tags["lamina.key"] == before.data.tags["lamina.key"]
        assert run.data.tags["lamina.complete"] != before.data.tags["lamina.complete"]
        assert run.data.metrics["test_accuracy"] == 0.25
        assert (run.data.metrics["test_accuracy_low"], run.data.metrics["test_accuracy_high"]) == (0.1, 0.4)
        assert run.data.metrics["validation_accuracy_high"] == 0.9
        assert [trial.data.tags[runs.PARENT] for trial in trials(system)] == [run.info.run_id] * 3
        self.assert_history(system)
        assert sync(system, "tiny") == "already there"

    def test_two_processes_at_once_are_once_even_where_no_store_was(self, tmp_path: Path) -> None:
        write_run(tmp_path)
        call = (
            "import pathlib, sys; from lamina.tracking.sync import sync;"
            "print(sync(pathlib.Path('.'), 'tiny'), 'tensorflow' in sys.modules)"
        )
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        both = [
            subprocess.Popen(
                [sys.executable, "-c", call], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        said = sorted(process.communicate(timeout=120)[0] for process in both)
        assert said == ["already there False\n", "tracked False\n"]
        assert len(shown(tmp_path)) == 1

    def test_one_process_waits_for_the_other(self, system: Path) -> None:
        sync(system, "tiny")  # what it imports does not count in the second below
        write_run(system, key="b")
        with ThreadPoolExecutor(1) as pool:
            with store.exclusive(store.store_root(system)):
                waiting = pool.submit(sync, system, "tiny")
                time.sleep(1)
                assert not waiting.done()
            assert waiting.result(timeout=60) == "tracked"

    def test_a_process_that_hangs_is_not_waited_for(self, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "SECONDS_TO_WAIT", 0.3)
        with (
            store.exclusive(store.store_root(system)),
            pytest.raises(
                UserError, match=r"lock: another process has held MLflow's store for 0 s; check which process hangs"
            ),
        ):
            sync(system, "tiny")
        assert sync(system, "tiny") == "tracked"

    def test_another_key_is_another_run(self, system: Path) -> None:
        sync(system, "tiny")
        write_run(system, key="b")
        sync(system, "tiny")
        assert {run.data.tags["lamina.key"] for run in shown(system)} == {"a" * 64, "b" * 64}

    @pytest.mark.parametrize("followed", [False, True])
    def test_what_a_killed_process_left_is_replaced(
        self, system: Path, monkeypatch: pytest.MonkeyPatch, followed: bool
    ) -> None:
        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        if followed:
            follow(system)
        with monkeypatch.context() as patch:
            patch.setattr(completion, "_log_figures", killed)
            with pytest.raises(KeyboardInterrupt):
                sync(system, "tiny")
        (left,) = shown(system)
        assert left.data.tags["lamina.complete"] == "false"
        assert sync(system, "tiny") == "tracked"
        (run,) = shown(system)
        assert run.info.run_id != left.info.run_id
        assert [trial.data.tags[runs.PARENT] for trial in trials(system)] == [run.info.run_id] * 3

    def test_nothing_prints(self, system: Path, capfd: pytest.CaptureFixture[str]) -> None:
        sync(system, "tiny")
        assert capfd.readouterr() == ("", "")

    def test_missing_and_broken_files_are_named(self, system: Path) -> None:
        folder = system / "models" / "tiny"
        (folder / "history.csv").unlink()
        with pytest.raises(UserError, match=r"history\.csv: not found; run `dvc repro`"):
            sync(system, "tiny")
        (folder / "record.json").write_text('{"run": "tiny"}')
        with pytest.raises(UserError, match=r"record\.json: system, kind, key, .* missing"):
            sync(system, "tiny")
        (folder / "record.json").write_text("{")
        with pytest.raises(UserError, match=r"record\.json: cannot be read"):
            sync(system, "tiny")


class TestModel:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")
    def test_it_loads_and_predicts_as_the_network_does(self, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import mlflow.pyfunc

        from lamina.models.keras_runtime import keras

        layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
        network = keras.Sequential([keras.Input((8, 8, 3)), *layers])
        network.save(system / "models" / "tiny" / "model.keras")
        sync(system, "tiny")
        (run,) = shown(system)
        (model,) = run.outputs.model_outputs
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.open_store(system).uri)
        pictures = np.random.default_rng(13).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
        for place in (f"runs:/{run.info.run_id}/model", f"models:/{model.model_id}"):
            loaded = mlflow.pyfunc.load_model(place)
            told = loaded.predict(pictures)
            assert list(told.columns) == CLASSES
            np.testing.assert_array_equal(told.to_numpy(), network.predict(pictures, verbose=0))
        assert loaded.metadata.get_input_schema().inputs[0].shape == (-1, 8, 8, 3)
        with pytest.raises(mlflow.MlflowException, match="shape"):
            loaded.predict(pictures[:, :4])

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")
    def test_a_colorizer_takes_and_gives_rgb_and_is_served_so(
        self, system: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import mlflow.pyfunc
        from mlflow.pyfunc.scoring_server import invocations

        network = tiny_colorizer(write_color_run(system))
        sync(system, "colors")
        (run,) = shown(system)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.open_store(system).uri)
        loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
        pictures = np.random.default_rng(13).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
        told = loaded.predict(pictures)
        assert (told.dtype, told.shape) == (np.uint8, pictures.shape)
        lab = srgb_to_lab(pictures)
        lab[..., 1:] = np.rint(UNITS * network.predict(lab[..., :1].astype(np.float32) / UNITS, verbose=0))
        assert np.abs(told.astype(int) - lab_to_srgb(lab)).max() <= 1, "hundredths are not rounded on the way"
        assert len(np.unique(told - pictures)) > 100, "colors changed"
        body = json.dumps({"inputs": pictures.tolist()})
        answer = invocations(body, "application/json", loaded, loaded.metadata.get_input_schema())
        assert answer.status == 200
        np.testing.assert_array_equal(json.loads(answer.response)["predictions"], told)
        with pytest.raises(mlflow.MlflowException, match="shape"):
            loaded.predict(pictures[:, :4])

    def test_requirements_are_those_of_training(self, system: Path) -> None:
        sync(system, "tiny")
        (kept,) = (system.parents[1] / "mlflow" / "artifacts" / "models").glob("*/artifacts/requirements.txt")
        told = dict(line.split("==") for line in kept.read_text().split())
        assert set(told) == {"keras", "mlflow", "numpy", "pandas", "tensorflow"}
        assert (told["keras"], told["numpy"]) == ("3.15.1", "1.2.3")


def tiny_colorizer(folder: Path) -> Any:
    """A network that sees a pixel alone: lightness, darkness and their product decide a and b; saved to `folder`."""
    from lamina.models.keras_runtime import keras

    light = keras.Input((SIDE, SIDE, 1))
    hidden = keras.layers.Conv2D(4, 1, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(3))(light)
    colors = keras.layers.Conv2D(2, 1, kernel_initializer=keras.initializers.GlorotUniform(4))(hidden)
    network = keras.Model(light, colors)
    network.save(folder / "model.keras")
    return network


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")
def test_the_code_that_travels_converts_as_lamina_does() -> None:
    from lamina.tracking import pyfunc_colorizer

    draw = np.random.default_rng(0)
    rgb = draw.integers(0, 256, (1000, 1, 3), dtype=np.uint8)
    lab = srgb_to_lab(rgb)
    light = pyfunc_colorizer.lightness(rgb)
    assert light.dtype == np.float32
    np.testing.assert_allclose(light[..., 0], lab[..., 0] / UNITS, atol=0.006)
    np.testing.assert_array_equal(pyfunc_colorizer.to_rgb(lab[..., :1] / 100, lab[..., 1:] / 100), rgb)
    lab[..., 1:] = draw.integers(-11_000, 11_000, (1000, 1, 2))
    outside = pyfunc_colorizer.to_rgb((lab[..., :1] / 100).astype(np.float32), (lab[..., 1:] / 100).astype(np.float32))
    assert np.abs(outside.astype(int) - lab_to_srgb(lab)).max() <= 1


class TestColorizer:
    def test_a_run_is_told_in_full(self, system: Path) -> None:
        folder = write_color_run(system)
        assert sync(system, "colors") == "tracked"
        (run,) = shown(system)
        assert (run.data.tags["kind"], run.info.status) == ("colorize", "FINISHED")
        told = {"test_mse": 100, "test_mse_grey": 200, "validation_mse_low": 76, "test_against_grey_difference": -100}
        assert told.items() <= run.data.metrics.items()
        assert not [name for name in run.data.metrics if "accuracy" in name]
        (trial,) = trials(system)
        assert trial.data.metrics == {"validation_mse": 80.5, "epochs": 4}
        kept = system.parents[1] / "mlflow" / "artifacts" / run.info.run_id / "artifacts"
        figures = {path.name for path in (kept / "figures").iterdir()}
        assert figures == {"loss.png", "mse.png", "colors.png", "extremes.png", "learning.png"}
        for name in ("colors.png", "extremes.png", "learning.png"):
            assert (kept / "figures" / name).read_bytes() == (folder / name).read_bytes()
        record = {"history.csv", "metrics.json", "predictions.parquet", "record.json", "trials.csv"}
        assert {path.name for path in (kept / "record").iterdir()} == record
        assert sync(system, "colors") == "already there"

    def test_a_kind_of_another_version_is_named(self, system: Path) -> None:
        path = write_color_run(system) / "record.json"
        path.write_text(path.read_text().replace('"colorize"', '"sketch"'))
        with pytest.raises(UserError, match=r"record\.json: unknown kind 'sketch'; run `dvc repro train@colors` again"):
            sync(system, "colors")


class TestLive:
    def test_pictures_are_there_before_training_ends(self, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "SECONDS_BETWEEN_BATCHES", 0.1)
        callbacks: Callbacks = live.LiveRun(system)
        callbacks.start(record())
        callbacks.epoch(history()[0])
        callbacks.picture("some colors", 1, Image.new("RGB", (6, 4), "red"))
        wait_until(lambda: shown(system) and len(images(system)) == 1)
        (run,) = shown(system)
        assert run.info.status == "RUNNING"
        callbacks.picture("some colors", 3, Image.new("RGB", (6, 4), "blue"))
        callbacks.finish()
        told = images(system)
        assert [name.split("+")[:3] for name in told] == [["some colors", "step", "1"], ["some colors", "step", "3"]]
        pixels = [Image.open(path).convert("RGB").getpixel((0, 0)) for path in told.values()]
        assert pixels == [(255, 0, 0), (0, 0, 255)]
        assert shown(system)[0].data.metrics["train_loss"] == 1

    def test_pictures_of_a_followed_run_stay(self, system: Path) -> None:
        follow(system, between=lambda callbacks: callbacks.picture("colors", 2, Image.new("RGB", (6, 4))))
        before = images(system)
        assert sync(system, "tiny") == "tracked"
        assert len(shown(system)) == 1
        assert images(system) == before != {}

    def test_a_picture_that_the_store_refuses_costs_one_line(
        self, system: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def look(callbacks: Callbacks) -> None:
            wait_until(lambda: shown(system))
            (system.parents[1] / "mlflow" / "artifacts").mkdir()
            (system.parents[1] / "mlflow" / "artifacts" / shown(system)[0].info.run_id).write_text("in the way")
            callbacks.picture("colors", 2, Image.new("RGB", (6, 4)))

        follow(system, between=look)
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert "training continues, `lamina track` brings MLflow up to date" in err

    def test_epochs_are_there_before_training_ends(self, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "SECONDS_BETWEEN_BATCHES", 0.1)

        def look(_: Callbacks) -> None:
            wait_until(lambda: len(shown(system)) == 1 and shown(system)[0].data.metrics.get("train_loss") == 0.5)
            (run,) = shown(system)
            assert run.info.status == "RUNNING"
            assert run.data.params["transfer.epochs"] == str(EPOCHS)

        follow(system, between=look)
        TestComplete.assert_history(system)
        assert shown(system)[0].info.status == "FINISHED"

    def test_a_followed_run_is_completed_and_not_doubled(self, system: Path) -> None:
        follow(system)
        (followed,) = shown(system)
        assert followed.data.tags["lamina.complete"] == "false"
        assert sync(system, "tiny") == "tracked"
        (run,) = shown(system)
        assert run.info.run_id == followed.info.run_id
        assert len(run.data.tags["lamina.complete"]) == 64
        TestComplete.assert_history(system)

    def test_a_killed_training_is_replaced_by_the_next(self, system: Path) -> None:
        opened = store.open_store(system)
        left = runs.begin(opened, record())
        runs.log_epochs(opened, left, [(runs.now(), row) for row in history()[:2]])
        follow(system)
        (run,) = shown(system)
        assert run.info.run_id != left
        TestComplete.assert_history(system)

    def test_a_killed_training_is_replaced_by_the_record(self, system: Path) -> None:
        opened = store.open_store(system)
        left = runs.begin(opened, record())
        runs.log_epochs(opened, left, [(runs.now(), row) for row in history()[:2]])
        sync(system, "tiny")
        assert shown(system)[0].info.run_id != left
        TestComplete.assert_history(system)

    def test_training_again_leaves_a_complete_run_alone(self, system: Path) -> None:
        sync(system, "tiny")
        before = shown(system)[0].to_dictionary()
        follow(system)
        assert [run.to_dictionary() for run in shown(system)] == [before]

    def test_many_epochs_are_few_calls(self, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        log_epochs = runs.log_epochs
        monkeypatch.setattr(runs, "log_epochs", lambda *given: (calls.append(len(given[2])), log_epochs(*given)))
        callbacks = live.LiveRun(system)
        callbacks.start(record())
        wait_until(lambda: shown(system))
        for epoch in range(1, 501):
            callbacks.epoch({"epoch": epoch, "train_loss": 1.0})
            time.sleep(0.001)
        callbacks.finish()
        assert sum(calls) == 500
        assert len(calls) <= 3

    def test_silence_says_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        callbacks: Callbacks = Silent()
        callbacks.start(record())
        callbacks.epoch(history()[0])
        callbacks.picture("colors", 1, Image.new("RGB", (6, 4)))
        callbacks.finish()
        assert capfd.readouterr() == ("", "")


class TestStore:
    def test_it_stands_beside_the_nearest_dvc_or_git(self, tmp_path: Path) -> None:
        system = tmp_path / "project" / "pipelines" / "cells"
        system.mkdir(parents=True)
        assert store.store_root(system) == system
        (tmp_path / "project" / ".git").touch()
        assert store.store_root(system) == tmp_path / "project"
        (tmp_path / "project" / "pipelines" / ".dvc").mkdir()
        assert store.store_root(system) == tmp_path / "project" / "pipelines"

    @pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
    def test_locked_database_costs_one_line_and_little_time(
        self, system: Path, capfd: pytest.CaptureFixture[str], lock: str
    ) -> None:
        other = sqlite3.connect(system.parents[1] / "mlflow" / "mlflow.db")
        other.execute(f"BEGIN {lock}")
        start = time.monotonic()
        follow(system)
        assert time.monotonic() - start < 15
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "database is locked" in err
        assert "training continues, `lamina track` brings MLflow up to date" in err
        with pytest.raises(UserError, match=r"mlflow\.db cannot be used .*database is locked"):
            sync(system, "tiny")
        other.close()
        assert sync(system, "tiny") == "tracked"

    def test_a_process_killed_while_it_makes_the_database_leaves_none(self, system: Path) -> None:
        folder = system.parents[1] / "mlflow"
        shutil.rmtree(folder)
        code = "from pathlib import Path; from lamina.tracking.store import open_store; open_store(Path())"
        process = subprocess.Popen([sys.executable, "-c", code], cwd=system)
        while not (folder / ".part-mlflow.db").exists():
            assert process.poll() is None, "the database was made before it could be killed"
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert not (folder / "mlflow.db").exists()
        assert sync(system, "tiny") == "tracked"
        assert not (folder / ".part-mlflow.db").exists()

    def test_broken_database_is_one_line(self, system: Path) -> None:
        (system.parents[1] / "mlflow" / "mlflow.db").write_bytes(b"no database" * 100)
        with pytest.raises(UserError, match="file is not a database") as caught:
            sync(system, "tiny")
        assert "\n" not in str(caught.value)

    def test_moved_folder_is_refused_with_the_remedy(self, system: Path) -> None:
        sync(system, "tiny")
        moved = system.parents[1].rename(system.parents[2] / "moved")
        with pytest.raises(UserError, match=r"the folder was moved; delete .*moved/mlflow and run `lamina track`"):
            sync(moved / "pipelines" / "cells", "tiny")

    def test_experiment_in_the_bin_is_taken_out(self, system: Path) -> None:
        opened = store.open_store(system)
        opened.client.delete_experiment(store.experiment(opened, "cells"))
        sync(system, "tiny")
        assert len(shown(system)) == 1

    def test_no_server_is_one_line_without_the_password(
        self, system: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
        start = time.monotonic()
        follow(system)
        sync_or_warn(system, "tiny")
        assert time.monotonic() - start < 15
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 2
        for line in lines:
            assert "warning: the MLflow store http://***@127.0.0.1" in line
            assert "secret" not in line

    def test_server_that_never_answers_does_not_hold_training(
        self, system: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(live, "SECONDS_TO_FINISH", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{deaf.getsockname()[1]}")
            start = time.monotonic()
            follow(system)
            assert time.monotonic() - start < 2
            assert "did not take everything within" in capfd.readouterr().err
            start = time.monotonic()
            with pytest.raises(UserError, match="timed out"):
                sync(system, "tiny")
            assert time.monotonic() - start < 15


class TestTrack:
    def test_every_run_of_params_gets_its_line(self, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert track.run(Namespace(system=system)) == 0
        assert capsys.readouterr().out == "tiny   tracked\nlater  not trained yet\n"
        write_run(system, key="b", run="later")
        (system / "models" / "later" / "metrics.json").unlink()
        assert track.run(Namespace(system=system)) == 0
        assert capsys.readouterr().out == "tiny   already there\nlater  not evaluated yet\n"

    def test_store_out_of_reach_is_an_error(self, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(UserError, match=r"the MLflow store http://127\.0\.0\.1:\d+ cannot be used"):
            track.run(Namespace(system=system))


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Server:
    """A real `mlflow server`, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self.answers, 120)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:  # noqa: S310 - our own server
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    (server.folder / "mlflow.db").write_bytes(empty_database)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(running_server: Server, system: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running_server.uri)
    return running_server


class TestServer:
    def test_machines_that_make_an_experiment_at_once_get_the_same(self, server: Server, system: Path) -> None:
        opened = store.open_store(system)
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(lambda _: store.experiment(opened, "made at once"), range(8)))) == 1

    def test_runs_models_and_files_reach_it_once(self, server: Server, system: Path) -> None:
        write_run(system, key="1")
        assert sync(system, "tiny") == "tracked"
        assert sync(system, "tiny") == "already there"
        (run,) = [run for run in shown(system) if run.data.tags["lamina.key"] == "1" * 64]
        client = store.open_store(system).client
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"figures", "record"}
        (model,) = run.outputs.model_outputs
        assert client.get_logged_model(model.model_id).status == "READY"
        assert len([trial for trial in trials(system) if trial.data.tags[runs.PARENT] == run.info.run_id]) == 3

    def test_killed_in_the_middle_costs_one_line_and_is_repaired(
        self, server: Server, system: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "SECONDS_BETWEEN_BATCHES", 0.1)
        write_run(system, key="2")

        def told() -> list[Any]:
            return [run for run in shown(system) if run.data.tags["lamina.key"] == "2" * 64]

        def kill(_: Callbacks) -> None:
            wait_until(lambda: told() and told()[0].data.metrics.get("train_loss") == 0.5)
            server.kill()

        follow(system, key="2", between=kill)
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert "training continues, `lamina track` brings MLflow up to date" in err
        server.start()
        (left,) = told()
        assert left.info.status == "RUNNING"
        assert sync(system, "tiny") == "tracked"
        (run,) = told()
        assert run.info.run_id != left.info.run_id
        client = store.open_store(system).client
        assert [m.step for m in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2, 3, 4]

    @pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH to look at MLflow's page with")
    def test_people_see_the_runs(self, server: Server, system: Path, tmp_path: Path) -> None:
        write_run(system, key="3", run="seen-by-people")
        sync(system, "seen-by-people")
        experiment = store.experiment(store.open_store(system), "cells")
        page = browse(f"{server.uri}/#/experiments/{experiment}/runs", tmp_path)
        assert "seen-by-people" in page
        assert "cells" in page


def browse(address: str, folder: Path) -> str:
    """The page at `address` as Chromium shows it once its scripts ran."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=20000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
