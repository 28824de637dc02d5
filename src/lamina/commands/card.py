"""Write the card of a model or of the data: what it is, how well it does, and its limits, from the records."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from lamina.commands.data_card import data_card
from lamina.commands.model_card import model_card
from lamina.config import read_params
from lamina.errors import UserError
from lamina.files import staged
from lamina.results.champion import read_champion
from lamina.tasks.ensembles import result_tasks

CARD: Final = "README.md"  # where the Hugging Face Hub looks for it
MARK: Final = "\n- lamina\n"  # a tag in the front matter of every card


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `lamina card`, except --system."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="a run or an ensemble (default: the champion)")
    parser.add_argument("--data", action="store_true", help="write the card of the data instead of a model's")
    parser.add_argument("--license", default="unknown", metavar="ID", help="as mit or cc-by-4.0 (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"write FOLDER/{CARD} instead of printing it")


def run(arguments: Namespace) -> int:
    """Print a card, or write it; return 0.

    Raises:
        UserError: If a run or its results are missing.
    """
    system, name = arguments.system, arguments.name
    if arguments.data and name:
        raise UserError(f"--data: expected no run, got {name!r}; the data are those of the whole system")
    if arguments.data:
        text = data_card(system, arguments.license)
    else:
        text = model_card(system, name or _champion(system), arguments.license)
    if arguments.out:
        if arguments.out.exists() and not arguments.out.is_dir():
            raise UserError(f"{arguments.out}: is a file; --out expects a folder")
        _check_replaceable(arguments.out / CARD)
        with staged(arguments.out / CARD) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
        print(arguments.out / CARD)
    else:
        print(text, end="")
    return 0


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a README that people wrote, as that of the system."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else MARK
    if MARK not in text:
        raise UserError(f"{path}: is no card of lamina, and would be lost; give another folder with --out")


def _champion(system: Path) -> str:
    if champion := read_champion(system):
        return champion.run
    known = ", ".join(result_tasks(read_params(system)))
    raise UserError(f"{system}: no champion was accepted yet; name a run, of {known}, or run `lamina gate --accept`")
