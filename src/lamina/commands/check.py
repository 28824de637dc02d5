"""Check params.yaml and published.yaml, as the stages do, in a second: before DVC reads them, and nothing runs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lamina.commands.checked_params import check_params
from lamina.config import named, read_params
from lamina.tasks.published import read_published


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: the command has no arguments except `--system`."""


def run(arguments: Namespace) -> int:
    """Print that the parameters are valid; return 0.

    Raises:
        UserError: the first mistake, with its place.
    """
    system: Path = arguments.system
    params = read_params(system)
    check_params(params)
    read_published(system, params)
    print(f"{system / 'params.yaml'}: valid, {len(named(params, 'runs'))} runs")
    return 0
