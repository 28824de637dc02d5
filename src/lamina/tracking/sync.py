"""Log a run to MLflow in full, from the files that its stages wrote."""

import math
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lamina.charts.figures import curve
from lamina.charts.lettering import plain_text
from lamina.errors import UserError
from lamina.results.assessment import Assessment
from lamina.results.metrics import FEW_CLASSES
from lamina.tracking.records import TrackedRun, read_tracked
from lamina.tracking.runs import (
    COMPLETE,
    KEY,
    LIVE_EPOCHS,
    PARENT,
    create,
    delete,
    find,
    is_complete,
    log_epochs,
    metric_names,
    now,
)
from lamina.tracking.store import Store, exclusive, experiment, open_store, refused_in_one_line

if TYPE_CHECKING:
    from mlflow.entities import Run

MODEL = "model"
DPI = 120

State = Literal["tracked", "already there"]


def sync(system: Path, run: str) -> State:
    """Log one trained and evaluated run in full, from its files alone, exactly once per key.

    A complete run is left alone. A run that was logged live until its training ended is continued. An unfinished run
    of a killed process is replaced, and one whose files or model somebody deleted.

    Args:
        system: Folder of the system.
        run: Name of the run.

    Returns:
        Whether something was done.

    Raises:
        UserError: If files are missing or the store cannot be used.
    """
    files = read_tracked(system, run)
    store = open_store(system)
    with refused_in_one_line(store.uri), exclusive(store.root):
        experiment_id = experiment(store, files.system)
        found = find(store, experiment_id, files.run.record.key)
        complete = (there for there in found if there.data.tags.get(COMPLETE) == files.digest)
        kept = next((there for there in complete if _has_files(store, there)), None)
        delete(store, experiment_id, [there for there in found if there is not kept and not _followed(there, files)])
        if kept:
            return "already there"
        followed = next((there for there in found if _followed(there, files)), None)
        if followed:
            # unfinished from here on: if this process is killed, the run is replaced and not continued
            store.client.delete_tag(followed.info.run_id, LIVE_EPOCHS)
            run_id = followed.info.run_id
        else:
            run_id = create(store, experiment_id, files.run.record, files.system)
            log_epochs(store, run_id, [(now(), row) for row in files.epochs])
        _log_outcome(store, run_id, experiment_id, files)
    return "tracked"


def sync_or_warn(system: Path, run: str) -> None:
    """Call `sync`; print a warning instead of raising UserError."""
    try:
        sync(system, run)
    except UserError as error:
        print(f"warning: {error}; results are kept, `lamina track` brings MLflow up to date", file=sys.stderr)


def _has_files(store: Store, run: "Run") -> bool:
    """Whether the files and the model of a complete run are still there; people delete them to save space."""
    models = store.client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    reachable = ("mlflow-artifacts:", *([store.artifacts] if store.artifacts else []))
    if not models or not run.info.artifact_uri.startswith(reachable):  # a storage that this machine may not reach
        return bool(models)
    listed = [store.client.list_logged_model_artifacts(model.model_id) for model in models]
    return bool(store.client.list_artifacts(run.info.run_id, "record")) and any(listed)


def _followed(run: "Run", files: TrackedRun) -> bool:
    return run.data.tags.get(LIVE_EPOCHS) == str(len(files.run.history)) and not is_complete(run)


def _log_outcome(store: Store, run_id: str, experiment_id: str, files: TrackedRun) -> None:
    """Log what is known after training: scores, seconds, trials, figures, files and the model."""
    from mlflow.entities import Metric

    at = now()
    numbers = files.run.metrics.scalars() | assessed(files)
    numbers |= {f"seconds_{phase}": float(seconds) for phase, seconds in files.run.seconds.items()}
    names = metric_names(numbers)
    metrics = [Metric(names[name], value, at, len(files.run.history)) for name, value in numbers.items()]
    store.client.log_batch(run_id, metrics=metrics)
    for trial in files.run.trials.to_dict("records"):
        _log_trial(store, run_id, experiment_id, files, trial)
    for path in files.artifacts():
        store.client.log_artifact(run_id, str(path), "record")
    _log_figures(store, run_id, files)
    _log_model(store, run_id, experiment_id, files)
    store.client.set_terminated(run_id)
    store.client.set_tag(run_id, COMPLETE, files.digest)


def _log_trial(store: Store, run_id: str, experiment_id: str, files: TrackedRun, trial: Mapping[Any, Any]) -> None:
    from mlflow.entities import Metric, Param

    tags = {PARENT: run_id, "state": str(trial["state"])}
    name = f"{files.run.name} trial {trial['number']}"
    child = store.client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
    names = {"value": f"validation_{files.task.measure}", "epochs": "epochs"}
    measured = {names[name]: float(value) for name, value in trial.items() if name in names and math.isfinite(value)}
    chosen = {name: str(value) for name, value in trial.items() if name not in {*names, "state", "number"}}
    store.client.log_batch(
        child,
        metrics=[Metric(name, value, now(), 0) for name, value in measured.items()],
        params=[Param(name, value) for name, value in chosen.items()],
    )
    store.client.set_terminated(child, "FINISHED" if trial["state"] == "COMPLETE" else "KILLED")


def _log_figures(store: Store, run_id: str, files: TrackedRun) -> None:
    """Log PNG files: the curves of loss and measure, the confusion matrix where there are classes, and the sheets."""
    run, figures = files.run, {}
    with tempfile.TemporaryDirectory() as folder, plain_text(run.record.classes) as text:
        for measure in ("loss", files.task.measure):
            if {f"train_{measure}", f"validation_{measure}"} <= set(run.history.columns):
                figures[measure] = curve(run.history, measure)
        if {"label", "predicted"} <= set(run.predictions.columns):
            figures["confusion"] = _confusion(run.predictions, text)
        for name, figure in figures.items():
            # the version of matplotlib is left out, so that the same figure is the same bytes
            figure.savefig(Path(folder) / f"{name}.png", dpi=DPI, metadata={"Software": None})
        for path in run.sheets.values():
            shutil.copyfile(path, Path(folder) / path.name)
        store.client.log_artifacts(run_id, folder, "figures")


def _confusion(predictions: pd.DataFrame, text: Mapping[str, str]) -> Figure:
    """Draw how often each class (a row) was taken for each (a column): shares of the row as color, counts as text.

    Of many classes, only the `FEW_CLASSES` with the most mistakes are drawn.

    Args:
        predictions: `label` and `predicted`.
        text: of each class, to write at the axes.
    """
    classes = list(text)
    counted = pd.crosstab(predictions["label"], predictions["predicted"])
    counts = counted.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    drawn = np.sort(np.argsort(-mistakes, kind="stable")[:FEW_CLASSES])
    names = [text[classes[place]] for place in drawn]
    side = float(np.clip(2 + 0.6 * len(names), 3, 14))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares[np.ix_(drawn, drawn)], cmap="Purples", vmin=0, vmax=1)
    if len(drawn) < len(classes):
        axes.set_title(f"the {len(drawn)} of {len(classes)} classes with the most mistakes")
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    for (row, column), count in np.ndenumerate(counts[np.ix_(drawn, drawn)]):
        dark = shares[drawn[row], drawn[column]] > 0.5
        axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    return figure


def _log_model(store: Store, run_id: str, experiment_id: str, files: TrackedRun) -> None:
    from mlflow.entities import LoggedModelOutput

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True):
        # MLflow warns about its own types, a missing type hint, and a missing input example, which it would run through
        # the network; some of it past every filter, so that it is recorded and dropped
        warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
        from lamina.tracking.model import save

        model = store.client.create_logged_model(
            experiment_id, MODEL, source_run_id=run_id, tags={KEY: files.run.record.key}, model_type="keras"
        )
        store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=len(files.run.history))])
        save(files, Path(folder) / MODEL, run_id=run_id, model_id=model.model_id)
        store.client.log_model_artifacts(model.model_id, str(Path(folder) / MODEL))
        store.client.finalize_logged_model(model.model_id, "READY")


def assessed(files: TrackedRun) -> dict[str, float]:
    """Return the results of repeated training as numbers, such as `repeats_test_mean` and `control_p`."""
    found: dict[str, float | None] = {}
    assessment: Assessment = files.run.assessment
    if repeats := assessment.repeats:
        for fold, spread in (("test", repeats.test), ("validation", repeats.validation)):
            found |= {f"repeats_{fold}_mean": spread.mean, f"repeats_{fold}_deviation": spread.deviation}
    if control := assessment.control:
        values = control.model_dump(include={"chance", "p", "passed"}) | {control.measure: control.value}
        found |= {f"control_{name}": float(value) for name, value in values.items()}
    if crossed := assessment.crossvalidation:
        scores = type(files.run.metrics.test).model_validate(crossed.scores)
        found |= {f"crossvalidation_{name}": value for name, value in scores.scalars().items()}
        found["crossvalidation_starts_from_file"] = float(crossed.starts_from_file)
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}
