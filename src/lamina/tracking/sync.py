"""A run's full state in MLflow, brought there once from the files that its stages wrote."""

import math
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.errors import UserError
from lamina.tracking.figures import draw
from lamina.tracking.records import RunFiles, read_run
from lamina.tracking.runs import (
    COMPLETE,
    KEY,
    LIVE_EPOCHS,
    PARENT,
    allowed,
    create,
    delete,
    find,
    is_complete,
    log_epochs,
    now,
)
from lamina.tracking.store import Store, exclusive, experiment, open_store, refused_in_one_line

if TYPE_CHECKING:
    from mlflow.entities import Run

MODEL = "model"

State = Literal["tracked", "already there"]


def sync(system: Path, run: str) -> State:
    """Bring one trained and evaluated run to its full state in MLflow, from its files alone, exactly once a key.

    What is there already in full is left alone. A run followed live to the end of its training is continued; what
    a killed process left is replaced. Raises UserError where files are missing or the store cannot be used.
    """
    files = read_run(system, run)
    store = open_store(system)
    with refused_in_one_line(store.uri), exclusive(store.root):
        experiment_id = experiment(store, files.record["system"])
        found = find(store, experiment_id, files.record["key"])
        kept = next((there for there in found if there.data.tags.get(COMPLETE) == files.digest), None)
        delete(store, experiment_id, [there for there in found if there is not kept and not _followed(there, files)])
        if kept:
            return "already there"
        followed = next((there for there in found if _followed(there, files)), None)
        if followed:
            # from here on it is half done; were this process killed, it would be replaced and not continued
            store.client.delete_tag(followed.info.run_id, LIVE_EPOCHS)
            run_id = followed.info.run_id
        else:
            run_id = create(store, experiment_id, files.record)
            log_epochs(store, run_id, [(now(), row) for row in files.history])
        _log_outcome(store, run_id, experiment_id, files)
    return "tracked"


def sync_or_warn(system: Path, run: str) -> None:
    """`complete` for a stage, whose own work is done: what MLflow cannot take is said in one line, for later."""
    try:
        sync(system, run)
    except UserError as error:
        print(f"warning: {error}; results are kept, `lamina track` brings MLflow up to date", file=sys.stderr)


def _followed(run: "Run", files: RunFiles) -> bool:
    return run.data.tags.get(LIVE_EPOCHS) == str(len(files.history)) and not is_complete(run)


def _log_outcome(store: Store, run_id: str, experiment_id: str, files: RunFiles) -> None:
    """Log what is known only after training: scores, seconds, trials, figures, files and the model."""
    from mlflow.entities import Metric

    at = now()
    numbers = scores(files.metrics) | scores(assessed(files.assessment))
    numbers |= {f"seconds_{phase}": float(s) for phase, s in files.seconds.items()}
    store.client.log_batch(
        run_id, metrics=[Metric(name, value, at, len(files.history)) for name, value in numbers.items()]
    )
    for trial in files.trials:
        _log_trial(store, run_id, experiment_id, files, trial)
    for path in files.artifacts():
        store.client.log_artifact(run_id, str(path), "record")
    _log_figures(store, run_id, files)
    _log_model(store, run_id, experiment_id, files)
    store.client.set_terminated(run_id)
    store.client.set_tag(run_id, COMPLETE, files.digest)


def _log_trial(store: Store, run_id: str, experiment_id: str, files: RunFiles, trial: Mapping[str, str]) -> None:
    from mlflow.entities import Metric, Param

    tags = {PARENT: run_id, "state": trial["state"]}
    name = f"{files.record['run']} trial {trial['number']}"
    child = store.client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
    names = {"value": f"validation_{files.measure}", "epochs": "epochs"}
    told = {names[name]: float(text) for name, text in trial.items() if name in names and text}
    chosen = {name: text for name, text in trial.items() if name not in {*names, "state", "number"} and text}
    store.client.log_batch(
        child,
        metrics=[Metric(name, value, now(), 0) for name, value in told.items()],
        params=[Param(name, value) for name, value in chosen.items()],
    )
    store.client.set_terminated(child, "FINISHED" if trial["state"] == "COMPLETE" else "KILLED")


def _log_figures(store: Store, run_id: str, files: RunFiles) -> None:
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


def scores(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Flatten `metrics.json` into names of MLflow's alphabet: `test_accuracy`, `test_accuracy_low`, `test_f1_CLASS`.

    Of a colorizer `test_mse`, `test_mse_low`, `test_mse_grey`, `test_against_grey_difference`, and so for each measure
    and baseline. Of a pretext run `test_mse`, `test_mse_low`, `test_level`.
    """
    flat: dict[str, float] = {}
    for fold, score in metrics.items():
        for name, value in score.items():
            if name == "interval":
                measure = "mse" if "mse" in score else "accuracy"
                flat |= _with_bounds(f"{fold}_{measure}", score[measure], value)
            elif name == "calibration":
                low, high = value["interval"]
                flat |= {f"{fold}_ece_low": float(low), f"{fold}_ece_high": float(high)}
                flat |= {f"{fold}_{measure}": float(value[measure]) for measure in ("ece", "brier", "log_loss")}
            elif name == "per_class":
                for label, row in value.items():
                    flat |= {f"{fold}_{measure}_{allowed(label)}": float(number) for measure, number in row.items()}
            elif name == "measures":
                for measure, row in value.items():
                    flat |= _with_bounds(f"{fold}_{measure}", row["value"], row["interval"])
                    flat |= {f"{fold}_{measure}_{of}": float(row[of]) for of in ("grey", "mean", "true") if of in row}
            elif name == "against":
                for baseline, row in value.items():
                    flat |= _with_bounds(f"{fold}_against_{baseline}_difference", row["difference"], row["interval"])
            elif isinstance(value, int | float):
                flat[f"{fold}_{allowed(name)}"] = float(value)
    return flat


def _with_bounds(name: str, value: float, interval: Sequence[float | None] | None) -> dict[str, float]:
    """A number and its interval, which one origin alone has not: MLflow would show its largest number for it."""
    low, high = interval or (None, None)
    told = {name: value, f"{name}_low": low, f"{name}_high": high}
    return {name: float(number) for name, number in told.items() if number is not None and math.isfinite(number)}


def assessed(assessment: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What of `assessment.json` is a score, as blocks that `scores` takes: `repeats_test_mean`, `control_p`, ..."""
    blocks = {name: block for name in ("crossvalidation", "control") if (block := assessment.get(name))}
    if control := blocks.get("control"):
        blocks["control"] = {name: control[name] for name in ("accuracy", "chance", "p", "passed")}
    for fold in ("validation", "test"):
        if repeats := assessment.get("repeats"):
            blocks[f"repeats_{fold}"] = {name: repeats[fold][name] for name in ("mean", "deviation")}
    return blocks
