"""`lamina track`: bring MLflow up to date from the records of the runs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lamina.config import named, read_params
from lamina.progress import progress
from lamina.results.champion import Champion, read_champion


def add_arguments(parser: ArgumentParser) -> None:
    """Add no arguments; `--system` is enough."""


def run(arguments: Namespace) -> int:
    """Print one line for each run of `params.yaml`: tracked, already there, not trained yet or not evaluated yet.

    One more line is about the accepted champion: registered, already there, or why it is not.

    Raises:
        UserError: MLflow's store cannot be used.
    """
    system: Path = arguments.system
    names = list(named(read_params(system), "runs"))
    width = max(map(len, names), default=0)
    for name in progress(names, what="tracking", unit="runs"):
        print(f"{name:<{width}}  {_track(system, name)}", flush=True)
    if champion := read_champion(system):
        print(f"champion {champion.run}: {_register(system, champion)}")
    return 0


def _register(system: Path, champion: Champion) -> str:
    if not champion.lies_in(system):
        return "differs from models/; get it with `dvc pull`, or accept the new one with `lamina gate --accept`"
    from lamina.tracking.registry import register

    return register(system, champion)


def _track(system: Path, name: str) -> str:
    folder = system / "models" / name
    if not (folder / "record.json").exists():
        return "not trained yet"
    if not (folder / "metrics.json").exists():
        return "not evaluated yet"
    # MLflow takes seconds to import, and is not needed where nothing was trained
    from lamina.tracking.sync import sync

    return sync(system, name)
