"""`lamina track`: bring MLflow up to date from the records of the runs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lamina.config import read_params
from lamina.errors import UserError
from lamina.progress import progress
from lamina.results.champion import Champion, read_champion
from lamina.results.evaluated import are_scores_earlier, require_evaluated
from lamina.results.folders import results_folder
from lamina.stages.entry import USER_ERROR
from lamina.tasks.ensembles import result_tasks


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: the command has no arguments except `--system`."""


def run(arguments: Namespace) -> int:
    """Bring MLflow up to date; print one line for each run and ensemble of `params.yaml`, and one for the champion.

    Returns:
        0; 2 if files of a run are missing, broken or, as its assessment, of an earlier training; others are tracked.

    Raises:
        UserError: If the store cannot be used.
    """
    system: Path = arguments.system
    names = list(result_tasks(read_params(system)))
    width, code = max(map(len, names), default=0), 0
    for name in progress(names, what="tracking", unit="runs"):
        said, is_usable = _track(system, name)
        print(f"{name:<{width}}  {said}", flush=True)
        code = code if is_usable else USER_ERROR
    if champion := read_champion(system):
        print(f"champion {champion.run}: {_register(system, champion)}")
    return code


def _register(system: Path, champion: Champion) -> str:
    if not champion.is_in(system):
        folder = results_folder(system, champion.run).relative_to(system)
        return (
            f"{folder}: not the accepted model; fetch it with `dvc pull`, "
            "or accept the present one with `lamina gate --accept`"
        )
    from lamina.tracking.registry import register

    return register(system, champion)


def _track(system: Path, name: str) -> tuple[str, bool]:
    """Bring a run to MLflow; return what to say of it, and whether its files can be used, once it is evaluated."""
    folder = results_folder(system, name)
    if not (folder / "record.json").exists():
        return "not trained yet", True
    if not (folder / "metrics.json").exists():
        return "not evaluated yet", True
    from lamina.tracking.records import read_tracked  # pandas takes long to import

    is_earlier = False
    try:
        is_earlier = are_scores_earlier(folder)
        require_evaluated(folder)
        read_tracked(system, name)
    except UserError as error:
        return f"not tracked: {error}", is_earlier
    # MLflow takes seconds to import, and is not needed if nothing was trained
    from lamina.tracking.sync import sync

    return sync(system, name), True
