"""A run's full state in MLflow, brought there once from the files that its stages wrote."""

import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.errors import UserError
from lamina.tracking.records import RunFiles, read_run
from lamina.tracking.store import Store, exclusive, experiment, open_store, refused_in_one_line

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

KEY = "lamina.key"
COMPLETE = "lamina.complete"
LIVE_EPOCHS = "lamina.live_epochs"
PARENT = "mlflow.parentRunId"
TRIAL_STATUS = {"COMPLETE": "FINISHED", "FAIL": "FAILED"}
MODEL = "model"

State = Literal["tracked", "already there"]


def now() -> int:
    """The time in MLflow's unit, milliseconds since 1970."""
    return int(time.time() * 1000)


def complete(system: Path, run: str) -> State:
    """Bring one trained and evaluated run to its full state in MLflow, from its files alone, exactly once a key.

    What is there already in full is left alone. A run followed live to the end of its training is continued; what
    a killed process left is replaced. Raises UserError where files are missing or the store cannot be used.
    """
    files = read_run(system, run)
    store = open_store(system)
    with refused_in_one_line(store.uri), exclusive(store.root):
        experiment_id = experiment(store, files.record["system"])
        found = _find(store, experiment_id, files.record["key"])
        kept = next((there for there in found if _is_complete(there)), None)
        _delete(store, experiment_id, [there for there in found if there is not kept and not _followed(there, files)])
        if kept:
            return "already there"
        followed = next((there for there in found if _followed(there, files)), None)
        if followed:
            # from here on it is half done; were this process killed, it would be replaced and not continued
            store.client.delete_tag(followed.info.run_id, LIVE_EPOCHS)
            run_id = followed.info.run_id
        else:
            run_id = _create(store, experiment_id, files.record)
            log_epochs(store, run_id, [(now(), row) for row in files.history])
        _log_outcome(store, run_id, experiment_id, files)
    return "tracked"


def complete_or_warn(system: Path, run: str) -> None:
    """`complete` for a stage, whose own work is done: what MLflow cannot take is said in one line, for later."""
    try:
        complete(system, run)
    except UserError as error:
        print(f"warning: {error}; results are kept, `lamina track` brings MLflow up to date", file=sys.stderr)


def begin(store: Store, record: dict[str, Any]) -> str | None:
    """Make the run that training is about to fill; None where MLflow has it in full already.

    What a killed training with the same key left is deleted.
    """
    with exclusive(store.root):
        experiment_id = experiment(store, record["system"])
        found = _find(store, experiment_id, record["key"])
        if any(_is_complete(there) for there in found):
            return None
        _delete(store, experiment_id, found)
        return _create(store, experiment_id, record)


def log_epochs(store: Store, run_id: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
    """Log rows of `history.csv`, each with its time in milliseconds, in as few calls as MLflow takes."""
    store.client.log_batch(run_id, metrics=[metric for at, row in rows for metric in _epoch(row, at)])


def end_training(store: Store, run_id: str, epochs: int) -> None:
    """Say that training ended well and that all its epochs were logged."""
    store.client.set_tag(run_id, LIVE_EPOCHS, str(epochs))
    store.client.set_terminated(run_id)


def _is_complete(run: "Run") -> bool:
    return run.data.tags.get(COMPLETE) == "true"


def _followed(run: "Run", files: RunFiles) -> bool:
    return run.data.tags.get(LIVE_EPOCHS) == str(len(files.history)) and not _is_complete(run)


def _find(store: Store, experiment_id: str, key: str) -> list["Run"]:
    return list(
        store.client.search_runs(
            [experiment_id], f"tags.`{KEY}` = '{key}'", order_by=["attributes.start_time", "attributes.run_id"]
        )
    )


def _delete(store: Store, experiment_id: str, runs: list["Run"]) -> None:
    for run in runs:
        while children := store.client.search_runs([experiment_id], f"tags.`{PARENT}` = '{run.info.run_id}'"):
            for child in children:
                store.client.delete_run(child.info.run_id)
        for model in run.outputs.model_outputs if run.outputs else []:
            store.client.delete_logged_model(model.model_id)
        store.client.delete_run(run.info.run_id)


def _create(store: Store, experiment_id: str, record: Mapping[str, Any]) -> str:
    from mlflow.entities import Param

    tags = {
        KEY: record["key"],
        COMPLETE: "false",
        "system": record["system"],
        "kind": record["kind"],
        "data": record["data"]["digest"],
        "commit": record["commit"],
        "mlflow.source.git.commit": record["commit"],
        "mlflow.source.name": "lamina",
    }
    told = {key: str(value) for key, value in tags.items() if value is not None}
    run_id = str(store.client.create_run(experiment_id, tags=told, run_name=record["run"]).info.run_id)
    params = flatten({**record["params"], "seed": record["seed"], "size": record["size"], "tuned": record["tuned"]})
    store.client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
    return run_id


def _log_outcome(store: Store, run_id: str, experiment_id: str, files: RunFiles) -> None:
    """Log what is known only after training: scores, seconds, trials, figures, files and the model."""
    from mlflow.entities import Metric

    at = now()
    numbers = {**scores(files.metrics), **{f"seconds_{phase}": float(s) for phase, s in files.seconds.items()}}
    store.client.log_batch(run_id, metrics=[Metric(name, value, at, 0) for name, value in numbers.items()])
    for trial in files.trials:
        _log_trial(store, run_id, experiment_id, files.record["run"], trial)
    for path in files.artifacts():
        store.client.log_artifact(run_id, str(path), "record")
    _log_figures(store, run_id, files)
    _log_model(store, run_id, experiment_id, files)
    store.client.set_terminated(run_id)
    store.client.set_tag(run_id, COMPLETE, "true")


def _log_trial(store: Store, run_id: str, experiment_id: str, run: str, trial: Mapping[str, str]) -> None:
    from mlflow.entities import Metric, Param

    tags = {PARENT: run_id, "state": trial["state"]}
    child = store.client.create_run(experiment_id, tags=tags, run_name=f"{run} trial {trial['number']}").info.run_id
    names = {"value": "validation_accuracy", "epochs": "epochs"}
    told = {names[name]: float(text) for name, text in trial.items() if name in names and text}
    chosen = {name: text for name, text in trial.items() if name not in {*names, "state", "number"} and text}
    store.client.log_batch(
        child,
        metrics=[Metric(name, value, now(), 0) for name, value in told.items()],
        params=[Param(name, value) for name, value in chosen.items()],
    )
    store.client.set_terminated(child, TRIAL_STATUS.get(trial["state"], "KILLED"))


def _log_figures(store: Store, run_id: str, files: RunFiles) -> None:
    from lamina.tracking.figures import draw

    with tempfile.TemporaryDirectory() as folder:
        draw(files, Path(folder))
        store.client.log_artifacts(run_id, folder, "figures")


def _log_model(store: Store, run_id: str, experiment_id: str, files: RunFiles) -> None:
    from mlflow.entities import LoggedModelOutput

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # MLflow asks for an example of the input, which it would run through the network, and warns of its own types
        warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
        from lamina.tracking.model import save

        model = store.client.create_logged_model(
            experiment_id, MODEL, source_run_id=run_id, tags={KEY: files.record["key"]}, model_type="keras"
        )
        store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=len(files.history))])
        save(files, Path(folder) / MODEL, run_id=run_id, model_id=model.model_id)
        store.client.log_model_artifacts(model.model_id, str(Path(folder) / MODEL))
        store.client.finalize_logged_model(model.model_id, "READY")


def _epoch(row: Mapping[str, float], at: int) -> Iterator["Metric"]:
    from mlflow.entities import Metric

    for name, value in row.items():
        if name != "epoch":
            yield Metric(name, float(value), at, int(row["epoch"]))


def scores(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Flatten `metrics.json` into names of MLflow's alphabet: `test_accuracy`, `test_accuracy_low`, `test_f1_CLASS`."""
    flat: dict[str, float] = {}
    for fold, score in metrics.items():
        for name, value in score.items():
            if name == "interval":
                flat[f"{fold}_accuracy_low"], flat[f"{fold}_accuracy_high"] = map(float, value)
            elif name == "per_class":
                for label, row in value.items():
                    flat |= {f"{fold}_{measure}_{_allowed(label)}": float(number) for measure, number in row.items()}
            elif isinstance(value, int | float):
                flat[f"{fold}_{_allowed(name)}"] = float(value)
    return flat


def flatten(params: Mapping[str, Any], place: str = "") -> dict[str, str]:
    """Flatten nested parameters: `{"split": {"test": 0.3}}` gives `{"split.test": "0.3"}`."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        here = f"{place}{_allowed(str(name))}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{here}.")
        else:
            flat[here] = "null" if value is None else str(value)
    return flat


def _allowed(name: str) -> str:
    return re.sub(r"[^\w.\- ]", "_", name)
