"""Finished runs for MLflow, a store of their own, and ways to look into it."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from finished import (
    class_scores,
    color_scores,
    finished_history,
    finished_record,
    lightness_scores,
    run_settings,
    write_finished_run,
    write_params,
)
from lamina.files import write_json
from lamina.maths.label_scores import label_scores
from lamina.maths.number_scores import number_scores, score_margin
from lamina.results.record import Record
from lamina.tasks.columns import probability
from lamina.tasks.multilabel.results import joined_labels
from lamina.tracking import live, runs, store
from lamina.training.callbacks import Callbacks

CLASSES: Final = ("eosinophil", "large/odd name")
EPOCHS: Final = 4
SIDE: Final = 16  # of the pictures of a colorizer


def class_record(key: str = "a", run: str = "tiny") -> Record:
    """Return the record of a classifier over pictures of 8 x 8."""
    return finished_record(run, run_settings("head", epochs=EPOCHS), classes=CLASSES, key=key)


def history() -> list[dict[str, float]]:
    """Return the rows of every classifier's history."""
    rows = finished_history("accuracy", EPOCHS).to_dict("records")
    return [{str(name): float(value) for name, value in row.items()} for row in rows]


def write_run(system: Path, key: str = "a", run: str = "tiny", model: bytes = b"not opened") -> Path:
    """Write a finished classifier with three trials."""
    rows = pd.DataFrame({"label": [CLASSES[0], *CLASSES], "predicted": [CLASSES[0], *CLASSES[::-1]]})
    names = [f"{number:016x}" for number in range(len(rows))]
    shares = pd.DataFrame({probability(name): (rows["predicted"] == name).astype(float) for name in CLASSES})
    trials = pd.DataFrame({"number": [0, 1, 2], "state": ["COMPLETE", "PRUNED", "COMPLETE"], "value": [0.8, 0.5, 0.0]})
    trials = trials.assign(learning_rate=[0.001, 0.1, 0.1], dropout=[0.5, 0.2, 0.3], decay=0.0, epochs=[4, 1, 0])
    scores = class_scores(0.75, CLASSES)
    return write_finished_run(
        system,
        class_record(key, run),
        metrics={"test": scores, "validation": scores},
        history=finished_history("accuracy", EPOCHS),
        predictions=pd.concat([pd.DataFrame({"id": names, "origin": names}), rows, shares], axis=1),
        trials=trials,
        seconds={"train": 1.5},
        model=model,
    )


def write_color_run(
    system: Path, run: str = "colors", key: str = "a", validation: float = 80.0, test: float = 100.0
) -> Path:
    """Write a finished colorizer with these mean squared errors."""
    names = [f"{number:016x}" for number in range(4)]
    errors = {"id": names, "origin": names, "mse": [test] * 4, "grey_mse": [2 * test] * 4, "mean_mse": [test] * 4}
    trials = pd.DataFrame({"number": [0], "state": "COMPLETE", "value": 80.5, "learning_rate": 0.001, "epochs": 4})
    sheets = ("sheets/colors", "sheets/extremes", "progress/learning")
    return write_finished_run(
        system,
        finished_record(run, run_settings("colorizer"), key=key, width=SIDE),
        metrics={"test": color_scores(test), "validation": color_scores(validation)},
        history=finished_history("mse", EPOCHS),
        predictions=pd.DataFrame(errors),
        trials=trials,
        sheets={place: Image.new("RGB", (4, 4), (len(place), 0, 0)) for place in sheets},
    )


def write_label_run(system: Path, run: str = "seen", key: str = "a", model: bytes = b"not opened") -> Path:
    """Write a finished run that gives the labels `CLASSES` to pictures of 8 x 8."""
    draw, names = np.random.default_rng(0), [f"{number:016x}" for number in range(8)]
    truth, shares = draw.integers(0, 2, (8, 2)) > 0, draw.random((8, 2))
    scores = label_scores(shares, truth, names, [0.5, 0.25], CLASSES)
    held = {"labels": joined_labels(truth, CLASSES), "predicted": joined_labels(shares >= [0.5, 0.25], CLASSES)}
    columns = {probability(name): shares[:, at] for at, name in enumerate(CLASSES)}
    return write_finished_run(
        system,
        finished_record(
            run, run_settings("head", task="multilabel", targets=["seen"], epochs=EPOCHS), classes=CLASSES, key=key
        ),
        metrics={"test": scores, "validation": scores},
        history=finished_history("f1", EPOCHS),
        predictions=pd.DataFrame({"id": names, "origin": names, **held, **columns}),
        model=model,
    )


def write_number_run(system: Path, run: str = "count", key: str = "a", model: bytes = b"not opened") -> Path:
    """Write a finished run that predicts a number from pictures of 8 x 8."""
    target, names = np.arange(40.0), [f"{number:016x}" for number in range(40)]
    predicted = target + np.random.default_rng(0).normal(size=40)
    held = score_margin(target, predicted, names, 2.5, 0.9)
    scores = number_scores(target, predicted, names, 19.5) | {"held": held}
    settings = run_settings("head", task="regress", target="count", epochs=EPOCHS)
    data = {"digest": "d" * 64, "rows": {"train": 10}, "target_mean": 19.5, "target_deviation": 12.0}
    return write_finished_run(
        system,
        finished_record(run, settings, key=key, data=data),
        metrics={"test": scores, "validation": scores},
        history=finished_history("mae", EPOCHS),
        predictions=pd.DataFrame({"id": names, "origin": names, "target": target, "predicted": predicted}),
        model=model,
    )


def write_lightness_run(system: Path, run: str = "light", key: str = "a") -> Path:
    """Write a finished run that learned lightness."""
    names = [f"{number:016x}" for number in range(4)]
    return write_finished_run(
        system,
        finished_record(run, run_settings("lightness"), key=key, width=SIDE),
        metrics={"test": lightness_scores(90.0), "validation": lightness_scores(95.0)},
        history=finished_history("mse", EPOCHS),
        predictions=pd.DataFrame({"id": names, "origin": names, "mse": 90.0, "mean_mse": 300.0}),
    )


def score(system: Path, run: str, **accuracy: float) -> None:
    """Change the accuracies of a classifier. accuracy: by fold."""
    path = system / "models" / run / "metrics.json"
    metrics = json.loads(path.read_text())
    for fold, value in accuracy.items():
        metrics[fold] |= {"accuracy": value}
    write_json(path, metrics)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a new database, which MLflow takes seconds to make."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store.open_store(folder)
    return (folder / "mlflow" / "mlflow.db").read_bytes()


@pytest.fixture
def system(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with a finished run `tiny` and an empty store, in a project of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / "mlflow").mkdir()
    (project / "mlflow" / "mlflow.db").write_bytes(empty_database)
    system = project / "pipelines" / "cells"
    system.mkdir(parents=True)
    write_params(system, {"tiny": run_settings("head"), "later": run_settings("network")})
    write_run(system)
    return system


def shown(system: Path) -> list[Any]:
    """Return the runs that a person sees first: no trials."""
    return [run for run in all_runs(system) if runs.PARENT not in run.data.tags]


def trials(system: Path) -> list[Any]:
    """Return the trials of all runs."""
    return [run for run in all_runs(system) if runs.PARENT in run.data.tags]


def all_runs(system: Path) -> list[Any]:
    """Return every run of the system's experiment."""
    client = store.open_store(system).client
    experiment = client.get_experiment_by_name("cells")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def artifacts(system: Path, run: Any) -> Path:
    """Return the folder of a run's files."""
    return system.parents[1] / "mlflow" / "artifacts" / run.info.run_id / "artifacts"


def images(system: Path) -> dict[str, Path]:
    """Return the pictures of the only run by name, `NAME+step+EPOCH+...`, sorted; without previews."""
    (run,) = shown(system)
    return {path.name: path for path in sorted((artifacts(system, run) / "images").glob("*.png"))}


def follow(system: Path, key: str = "a", between: Callable[[Callbacks], object] = lambda _: None) -> None:
    """Go through a training as its callbacks see it; `between` is called after half of the epochs."""
    callbacks: Callbacks = live.LiveRun(system)
    callbacks.on_train_begin(class_record(key))
    for row in history()[: EPOCHS // 2]:
        callbacks.on_epoch_end(row)
    between(callbacks)
    for row in history()[EPOCHS // 2 :]:
        callbacks.on_epoch_end(row)
    callbacks.on_train_end()


def assert_history(system: Path) -> None:
    """Assert that the only run has every epoch once."""
    client = store.open_store(system).client
    (run,) = shown(system)
    for name in ("train_loss", "learning_rate"):
        found = client.get_metric_history(run.info.run_id, name)
        assert [(metric.step, metric.value) for metric in found] == [(row["epoch"], row[name]) for row in history()]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
