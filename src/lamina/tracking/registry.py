"""Register a system's champion in MLflow, with the alias `champion` of a model named like the system."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lamina.errors import UserError
from lamina.results.champion import Champion
from lamina.results.folders import results_folder
from lamina.tracking.records import TrackedRun, read_tracked
from lamina.tracking.runs import COMPLETE, KEY, allowed, find
from lamina.tracking.store import Store, exclusive, experiment, open_store, refused_in_one_line
from lamina.tracking.sync import sync

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
SMALL = 0.01

State = Literal["registered", "already there"]


def register(system: Path, champion: Champion) -> State:
    """Point the alias at the champion's model, registered as a new version if it has none yet.

    The run is logged to MLflow first, if it is missing there.

    Args:
        system: Folder of the system.
        champion: The accepted one.

    Returns:
        Whether something was done.

    Raises:
        UserError: If the accepted model is not there, or the store cannot be used.
    """
    if not champion.is_in(system):
        folder = results_folder(system, champion.run)
        raise UserError(
            f"{folder}: not the accepted champion {champion.run}; fetch the accepted model "
            "with `dvc pull`, or accept the present one with `lamina gate --accept`"
        )
    sync(system, champion.run)
    files = read_tracked(system, champion.run)
    store = open_store(system)
    with refused_in_one_line(store.uri), exclusive(store.root):
        run_id, model_id = _logged(store, files)
        name = allowed(files.system)
        source = store.client.get_logged_model(model_id).artifact_location
        version = _version(store, name, source)
        champions = store.client.get_registered_model(name).aliases
        if version and str(champions.get(ALIAS)) == str(version.version):
            return "already there"
        if version is None:
            version = store.client.create_model_version(
                name, source, run_id, tags=tags(files, champion), model_id=model_id
            )
        store.client.set_registered_model_alias(name, ALIAS, version.version)
    return "registered"


def register_or_warn(system: Path, champion: Champion) -> None:
    """Call `register`; print a warning instead of raising UserError."""
    try:
        register(system, champion)
    except UserError as error:
        print(
            f"warning: {error}; the accepted results are kept, `lamina track` brings MLflow up to date", file=sys.stderr
        )


def _logged(store: Store, files: TrackedRun) -> tuple[str, str]:
    """Return the ids of the run and of its model in MLflow."""
    runs = find(store, experiment(store, files.system), files.run.record.key)
    run = next(run for run in runs if run.data.tags.get(COMPLETE) == files.digest)
    assert run.outputs is not None  # a complete run has logged its model
    return run.info.run_id, run.outputs.model_outputs[-1].model_id


def _version(store: Store, name: str, source: str) -> "ModelVersion | None":
    """Return the version with the files at `source`, or None; create the registered model if it is missing."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        store.client.create_registered_model(name)
    versions = store.client.search_model_versions(f"name = '{name}'")
    return next((version for version in versions if version.source == source), None)


def tags(files: TrackedRun, champion: Champion) -> dict[str, str]:
    """Return what MLflow shows of a version: the run, its model, and how it scored."""
    name, test = champion.measure, files.run.metrics.test
    interval = test.interval
    bounds = {"test_interval": " to ".join(map(_shown, interval))} if interval else {}
    return {
        "run": champion.run,
        KEY: champion.key,
        "digest": champion.model,
        f"validation_{name}": _shown(champion.validation),
        f"test_{name}": _shown(test.value),
    } | bounds


def _shown(value: float) -> str:
    """Four decimals; of small values, as of a number in a large unit, four digits."""
    return f"{value:.4f}" if abs(value) >= SMALL or not value else f"{value:.4g}"
