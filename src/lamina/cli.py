"""The command `lamina`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from lamina import __version__
from lamina.stages import entry

# each is a module of `lamina.commands`, with _ in place of -
COMMANDS = (
    "new", "check", "profile", "predict", "colorize", "explain", "serve", "export", "bench-model", "card", "gate",
    "track", "jobs",
)  # fmt: skip


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamina", description="Tracked, tuned, honestly tested models of pictures and texts."
    )
    parser.add_argument("--version", action="version", version=f"lamina {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        command = import_module(f"lamina.commands.{name.replace('-', '_')}")
        summary = (command.__doc__ or "").split("\n")[0]
        subparser = commands.add_parser(name, help=summary, description=summary)
        if name != "new":  # it has its own argument for the folder
            subparser.add_argument(
                "--system", type=Path, default=Path(), metavar="FOLDER", help="the system's folder (default: this one)"
            )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with an exit code (`lamina.stages.entry.run`)."""
    given = sys.argv[1:] if arguments is None else arguments
    named = [name for name in given[:1] if name in COMMANDS]
    parsed = _parser(named or COMMANDS).parse_args(given)  # importing all commands takes more than a second
    entry.run(lambda: sys.exit(parsed.run(parsed)))


if __name__ == "__main__":
    main()
