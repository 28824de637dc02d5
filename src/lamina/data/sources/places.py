"""Where a source must not be: in the files and folders that `dvc repro` removes before it writes them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lamina.errors import UserError

# what the stages write, in the system's folder; of `data/features` and others, each stage writes a part
RESULTS: Final = (
    "data/augmented", "data/code", "data/features", "data/filtered", "data/inspection", "data/lab", "data/pixels",
    "data/published.yaml", "data/raw", "data/source.txt", "data/split", "data/targets", "data/texts", "data/validation",
    "data/words", "ensembles", "models", "reports", "weights",
)  # fmt: skip

MARKS: Final = ("data/code", "dvc.lock", ".lamina/code.json")  # of an earlier `dvc repro`


def clash(path: Path, system: Path) -> str:
    """Return what is wrong with the place of a source or of a table, as words that follow its name; empty if nothing.

    Args:
        path: The file or folder.
        system: The system's folder.
    """
    if "\0" in str(path):
        return ""  # no such place
    place = Path(os.path.realpath(path))  # unlike `resolve`, it takes links that lead to themselves
    for name in RESULTS:
        result = Path(os.path.realpath(system / name))
        if place.is_relative_to(result):
            return (
                f"is {'' if place == result else 'in '}{name}, which `dvc repro` removes and writes; move it elsewhere"
            )
        if result.is_relative_to(place):
            return f"would hold {name}, which `dvc repro` writes; move it elsewhere"
    return ""


def in_the_way(system: Path) -> Path | None:
    """Return a file, or a folder with something in it, that the first `dvc repro` of a system would remove.

    Results of an earlier `dvc repro` there do not count, nor does `models`, in which each run has a folder of its own.
    """
    if any((system / mark).exists() for mark in MARKS):
        return None
    places = [system / name for name in RESULTS if name != "models"]
    return next((one for one in places if (any(one.iterdir()) if one.is_dir() else os.path.lexists(one))), None)


def check_first(system: Path) -> None:
    """Check that the first `dvc repro` of a system removes nothing of the user's own; raises UserError."""
    if (place := in_the_way(system)) is not None:
        raise UserError(
            f"{place}: is there already, and `dvc repro` would remove it to write its own; move it elsewhere, or "
            "delete it if it is not needed"
        )


def check_places(source: Mapping[str, Any], system: Path) -> None:
    """Check the paths in section `source` before anything runs: DVC removes what a stage writes before it starts it.

    Args:
        source: Section `source` of params.yaml.
        system: Folder that its paths are relative to.

    Raises:
        UserError: If one of them is among the results, or holds them.
    """
    local = ["location"] if source.get("kind") in ("folder", "archive") else []
    for key in (*local, "corrections", "metadata"):
        name = source.get(key)
        problem = clash(system / name, system) if isinstance(name, str) else ""
        if problem:
            raise UserError(f"params.yaml: source.{key}: {name} {problem}, and name it there")
