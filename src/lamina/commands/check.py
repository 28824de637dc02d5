"""Check params.yaml and published.yaml, as the stages do, in a second: before DVC reads them, and nothing runs."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamina.commands.checked_params import check_params
from lamina.config import Params, named, read_params
from lamina.data.sources.places import check_places
from lamina.old_pipeline import check_commands, check_size
from lamina.tasks.published import read_published


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: the command has no arguments except `--system`."""


def run(arguments: Namespace) -> int:
    """Print that the parameters are valid; return 0.

    Raises:
        UserError: the first mistake, with its place.
    """
    system: Path = arguments.system
    params = check_system(system)
    for note in missing(params["source"], system):
        print(note, file=sys.stderr)
    print(f"{system / 'params.yaml'}: valid, {len(named(params, 'runs'))} runs")
    return 0


def check_system(system: Path) -> Params:
    """Check what a system's stages read before they run; return the content of `params.yaml`.

    Raises:
        UserError: the first mistake, with its place.
    """
    params = read_params(system)
    check_params(params)
    check_places(params["source"], system)
    read_published(system, params)
    check_commands(system / "dvc.yaml")
    check_size(system / "dvc.yaml")
    return params


def missing(source: Mapping[str, Any], system: Path) -> list[str]:
    """Note which files and folders of the source are not on this machine: others that run the stages may have them.

    Args:
        source: section `source` of params.yaml.
        system: folder that its paths are relative to.
    """
    read = ["location"] if source.get("kind") in ("folder", "archive") and not source.get("mirrored") else []
    named = {f"source.{key}": source.get(key) for key in (*read, "corrections", "metadata")}
    return [
        f"note: {key}: {name} is not here; `dvc repro` stops without it"
        for key, name in named.items()
        if isinstance(name, str) and not (system / name).exists()
    ]
