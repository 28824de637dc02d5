"""The pictures or texts that people name on the command line: files, and folders of them."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from lamina.data.sources.members import PICTURE_SUFFIXES, is_ignored
from lamina.errors import UserError

TABLES: Final = (".csv", ".tsv", ".jsonl", ".parquet")  # of many texts


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return the pictures of files and folders; sorted within a folder.

    Raises:
        UserError: If a path is missing or a folder holds no picture.
    """
    return _find_files(paths, PICTURE_SUFFIXES, "picture")


def find_texts(paths: Sequence[Path]) -> list[Path]:
    """Return the texts of files and folders, as `find_pictures` does.

    Raises:
        UserError: Also for a table, which would be read as one text.
    """
    table = next((path for path in paths if path.is_file() and path.suffix.lower() in TABLES), None)
    if table is not None:
        raise UserError(f"{table}: is a table, expected a text in each file; write its texts into .txt files")
    return _find_files(paths, [".txt"], "text")


def _find_files(paths: Sequence[Path], suffixes: Collection[str], item: str) -> list[Path]:
    """Return files as given, and all files with one of `suffixes` (in lower case) below given folders.

    As in a source, links are followed, and what is hidden, or an operating system left, is passed over.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in _files_below(path) if file.suffix.lower() in suffixes)
            if not inside:
                raise UserError(f"{path}: no {item} in this folder; expected {', '.join(sorted(suffixes))}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            problem = "neither file nor folder" if path.exists() else "not found"
            raise UserError(f"{path}: {problem}; expected a {item} or a folder of {item}s")
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below it; of several links to a folder it takes one, so that none is endless."""
    seen = set[str]()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(name for name in folders if not is_ignored(name))
        if real not in seen:
            yield from (Path(here) / name for name in files if not is_ignored(name))
        seen.add(real)
