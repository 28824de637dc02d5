"""Runs in MLflow: create, fill, find by key, and delete."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lamina.results.record import Record
from lamina.text import distinct
from lamina.tracking.store import Store, exclusive, experiment

if TYPE_CHECKING:
    from mlflow.entities import Run
    from PIL.Image import Image

KEY = "lamina.key"
COMPLETE = "lamina.complete"  # "false", then the digest of the results that were logged
LIVE_EPOCHS = "lamina.live_epochs"
PARENT = "mlflow.parentRunId"
REFUSED = r"[^\w.\- ]"  # characters that MLflow does not take in a name
LONGEST_NAME, LONGEST_DIGEST = 250, 36


def now() -> int:
    """Return the time in MLflow's unit, milliseconds since 1970."""
    return int(time.time() * 1000)


def begin(store: Store, record: Record, system: str) -> str | None:
    """Create the run of a training that begins; delete unfinished runs with the same key.

    Args:
        store: An open store.
        record: Of the run.
        system: Name of the experiment.

    Returns:
        Its id; None if MLflow has the complete run already.
    """
    with exclusive(store.root):
        experiment_id = experiment(store, system)
        found = find(store, experiment_id, record.key)
        if any(map(is_complete, found)):
            return None
        delete(store, experiment_id, found)
        return create(store, experiment_id, record, system)


def log_epochs(store: Store, run_id: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
    """Log rows of `history.csv`, each with its time in milliseconds."""
    from mlflow.entities import Metric

    metrics = [
        Metric(name, float(value), at, int(row["epoch"]))
        for at, row in rows
        for name, value in row.items()
        if name != "epoch"
    ]
    store.client.log_batch(run_id, metrics=metrics)


def log_picture(store: Store, run_id: str, name: str, epoch: int, image: "Image", at: int) -> None:
    """Log a picture of an epoch; MLflow's page of the run shows the epochs of one name as a series."""
    store.client.log_image(run_id, image, key=allowed(name), step=epoch, timestamp=at, synchronous=True)


def end_training(store: Store, run_id: str, epochs: int) -> None:
    """Mark the training as finished, with all its epochs logged."""
    store.client.set_tag(run_id, LIVE_EPOCHS, str(epochs))
    store.client.set_terminated(run_id)


def is_complete(run: "Run") -> bool:
    """Return whether MLflow has everything that the run's files hold."""
    return run.data.tags.get(COMPLETE, "false") != "false"


def find(store: Store, experiment_id: str, key: str) -> list["Run"]:
    """Return all runs with this key, the oldest first."""
    return list(
        store.client.search_runs(
            [experiment_id], f"tags.`{KEY}` = '{key}'", order_by=["attributes.start_time", "attributes.run_id"]
        )
    )


def delete(store: Store, experiment_id: str, runs: list["Run"]) -> None:
    """Delete runs with their trials and models."""
    for run in runs:
        while children := store.client.search_runs([experiment_id], f"tags.`{PARENT}` = '{run.info.run_id}'"):
            for child in children:
                store.client.delete_run(child.info.run_id)
        for model in run.outputs.model_outputs if run.outputs else []:
            store.client.delete_logged_model(model.model_id)
        store.client.delete_run(run.info.run_id)


def create(store: Store, experiment_id: str, record: Record, system: str) -> str:
    """Create a run with its record's parameters and tags; return its id."""
    from mlflow.entities import Param

    tags = {
        KEY: record.key,
        COMPLETE: "false",
        "system": system,
        "task": record.task,
        "members": ", ".join(record.members) or None,
        "data": record.data["digest"],
        "commit": record.commit,
        "mlflow.source.git.commit": record.commit,
        "mlflow.source.name": "lamina",
    }
    known = {key: str(value) for key, value in tags.items() if value is not None}
    run_id = str(store.client.create_run(experiment_id, tags=known, run_name=record.run).info.run_id)
    members = {"members": record.members} if record.members else {}
    rest = {"seed": record.seed, "width": record.width, "tuned": record.numbers}
    params = flatten({**record.settings, **rest, **members})
    store.client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
    _log_input(store, run_id, record, system)
    return run_id


def _log_input(store: Store, run_id: str, record: Record, system: str) -> None:
    """Name what the run learned from, for MLflow's column Dataset."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=f"{system}/{record.input}",
        digest=record.data["digest"][:LONGEST_DIGEST],
        source_type="local",
        source=json.dumps({"uri": f"data/{record.input}"}),
        profile=json.dumps(record.data.get("rows", {})),
    )
    store.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def flatten(params: Mapping[str, Any], place: str = "") -> dict[str, str]:
    """Flatten nested parameters: `{"split": {"test": 0.3}}` gives `{"split.test": "0.3"}`."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        here = f"{place}{allowed(str(name))}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{here}.")
        else:
            flat[here] = "null" if value is None else str(value)
    return flat


def allowed(name: str) -> str:
    """Return a name as MLflow takes it (`metric_names`)."""
    return metric_names([name])[name]


def metric_names(names: Iterable[str]) -> dict[str, str]:
    """Return names of numbers as MLflow takes them: no two become one, and none is longer than its limit."""
    return distinct(names, refused=REFUSED, most=LONGEST_NAME)
