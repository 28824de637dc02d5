"""The command `lamina`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lamina import __version__
from lamina.commands import card, check, colorize, explain, export, gate, new, predict, profile, track
from lamina.stages import entry

COMMANDS = (new, check, profile, predict, colorize, explain, export, card, gate, track)  # each is named like its module


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamina", description="Tracked, tuned, honestly tested models of pictures and texts."
    )
    parser.add_argument("--version", action="version", version=f"lamina {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        summary = (command.__doc__ or "").split("\n")[0]
        subparser = commands.add_parser(name, help=summary, description=summary)
        if command is not new:  # it has its own argument for the folder
            subparser.add_argument(
                "--system", type=Path, default=Path(), metavar="FOLDER", help="the system's folder (default: this one)"
            )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with an exit code (`lamina.stages.entry.run`)."""
    parsed = _parser().parse_args(arguments)
    entry.run(lambda: sys.exit(parsed.run(parsed)))


if __name__ == "__main__":
    main()
