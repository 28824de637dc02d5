"""Show which places of a picture support each class or label, with a run's model."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from lamina.commands.given_files import find_pictures
from lamina.commands.predict import BATCH, check_task, prepare_batch, read_learned, with_depth
from lamina.config import read_params
from lamina.errors import UserError
from lamina.files import staged
from lamina.progress import progress
from lamina.text import one_line

TASKS: Final = ("classify", "multilabel")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures, or folders of them")
    parser.add_argument(
        "--run", dest="name", required=True, metavar="NAME", help="the run or ensemble whose model is explained"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where a sheet per picture is written"
    )


def run(arguments: Namespace) -> int:
    """Write a sheet per picture and print their number; 1 if some pictures could not be read."""
    check_task(read_params(arguments.system), arguments.name, TASKS)  # texts are no pictures: before these are searched
    pictures = list(dict.fromkeys(find_pictures(arguments.paths)))  # given twice, as with its folder: one sheet
    errors = explain(arguments.system, arguments.name, pictures, arguments.out)
    for path, error in errors.items():
        print(one_line(f"{path}: {error}"), file=sys.stderr)
    for path, sheet in sheet_names(pictures).items():
        if path not in errors and sheet != f"{path.stem}.png":
            print(one_line(f"note: {arguments.out / sheet} shows {path}"), file=sys.stderr)
    count = len(pictures) - len(errors)
    print(f"{arguments.out}: {count} sheet{'' if count == 1 else 's'}")
    return 1 if errors else 0


def explain(system: Path, name: str, pictures: Sequence[Path], out: Path) -> dict[Path, str]:
    """Write a sheet `NAME.png` for each picture, with the places that support its most probable classes.

    Args:
        system: Folder of the system.
        name: Name of the run.
        pictures: Paths. If some have the same name, the second and later ones are numbered.
        out: Folder for the sheets.

    Returns:
        By path, why a picture could not be read.

    Raises:
        UserError: If the run or its model is missing, or a sheet could replace a picture.
    """
    if out.resolve() in {path.resolve().parent for path in pictures}:
        raise UserError(f"{out}: holds pictures that are explained, and sheets have their names; give another --out")
    learned = with_depth(read_learned(system, name, TASKS), pictures)
    from lamina.models.divided import Divided
    from lamina.models.loading import load_model
    from lamina.models.saliency import explainer
    from lamina.tasks.classify.explain import classes_sheet

    network = Divided(load_model(learned.model))
    saliency = explainer(network)
    names = sheet_names(pictures)
    errors: dict[Path, str] = {}
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    for batch in progress(batches, what="explain", unit="pictures", sizes=[len(batch) for batch in batches]):
        pixels, unread = prepare_batch(batch, learned.convert)
        errors |= unread
        if not pixels:
            continue
        shares = network.outputs(np.stack(list(pixels.values())))
        for (path, square), share in zip(pixels.items(), shares, strict=True):
            with staged(out / names[path]) as part:
                classes_sheet(saliency, square, share, learned.record.classes).save(part)
    return errors


def sheet_names(pictures: Sequence[Path]) -> dict[Path, str]:
    """Return a unique file name for the sheet of each picture."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in pictures:
        name, number = f"{path.stem}.png", 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}.png"
        taken.add(name)
        names[path] = name
    return names
