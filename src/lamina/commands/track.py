"""`lamina track`: bring MLflow up to date from the records of the runs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lamina.config import read_params
from lamina.progress import progress
from lamina.results.champion import Champion, read_champion
from lamina.tasks.runs import run_tasks


def add_arguments(parser: ArgumentParser) -> None:
    """There are none beside `--system`."""


def run(arguments: Namespace) -> int:
    """Print one line a run of `params.yaml`: tracked, already there, not trained yet or not evaluated yet.

    And one for the accepted champion, which the registry names: registered, already there, or why it is not.

    Raises UserError where the store cannot be used.
    """
    system: Path = arguments.system
    names = list(run_tasks(read_params(system)))
    width = max(map(len, names), default=0)
    for name in progress(names, what="tracking", unit="runs"):
        print(f"{name:<{width}}  {_track(system, name)}", flush=True)
    if champion := read_champion(system):
        print(f"champion {champion.run}: {_register(system, champion)}")
    return 0


def _register(system: Path, champion: Champion) -> str:
    if not champion.lies_in(system):
        return "not what lies in models/; fetch it with `dvc pull`, or accept what is there with `lamina gate --accept`"
    from lamina.tracking.registry import register

    return register(system, champion)


def _track(system: Path, name: str) -> str:
    folder = system / "models" / name
    if not (folder / "record.json").exists():
        return "not trained yet"
    if not (folder / "metrics.json").exists():
        return "not evaluated yet"
    # MLflow takes seconds to import; where nothing was trained it is not needed
    from lamina.tracking.sync import sync

    return sync(system, name)
