"""Check params.yaml and published.yaml, as the stages do, in a second: before DVC reads them, and nothing runs."""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from lamina.commands.checked_params import check_params
from lamina.config import Params, named, read_params
from lamina.data.sources.places import check_places
from lamina.errors import UserError
from lamina.tasks.published import read_published

NAME_IN_COMMAND: Final = re.compile(r"^\s*cmd:.*\$\{.*", re.MULTILINE)


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: the command has no arguments except `--system`."""


def run(arguments: Namespace) -> int:
    """Print that the parameters are valid; return 0.

    Raises:
        UserError: the first mistake, with its place.
    """
    system: Path = arguments.system
    params = check_system(system)
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
    check_pipeline(system / "dvc.yaml")
    return params


def check_pipeline(path: Path) -> None:
    """Refuse a pipeline as `lamina new` wrote it before 0.2: DVC puts a name of params.yaml into a line for the shell.

    Raises:
        UserError: it has such a line.
    """
    found = NAME_IN_COMMAND.search(path.read_text(encoding="utf-8")) if path.exists() else None
    if found:
        raise UserError(
            f"{path}: `{found[0].strip()}` hands a name of params.yaml to a shell; take the dvc.yaml of this version: "
            "`lamina new` writes it into a new system"
        )
