"""A folder as a source: its files and those of all folders below it, also of folders that links name."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamina.data.sources.members import Members, check_size, checked_name, ignored_part, sorted_names
from lamina.errors import UserError


@contextmanager
def open_folder(path: Path, *, where: str) -> Iterator[Members]:
    """Open the files that `list_folder` lists; raises UserError, here or on reading, for what cannot be read."""

    def read(name: str) -> bytes:
        file = path / name
        try:
            check_size(file.stat().st_size, name, where)
            return file.read_bytes()
        except OSError as error:
            raise UserError(f"{where}: cannot read {name!r}: {error.strerror}") from None

    ignored = Counter[str]()
    yield Members(where=where, names=list_folder(path, where, ignored), read=read, ignored=ignored)


def list_folder(path: Path, where: str, ignored: Counter[str] | None = None) -> tuple[str, ...]:
    """List the files of a folder and of all folders below it, sorted by name; links are followed.

    Args:
        path: The folder.
        where: Its name in error messages.
        ignored: Receives the number of ignored files, by the part of the name that says so.

    Raises:
        UserError: For a broken or circular link, for what is neither file nor folder, and for what cannot be listed.
    """
    counted = Counter[str]() if ignored is None else ignored
    return sorted_names(_walk(path, where, "", (path.resolve(),), counted), where)


def _walk(folder: Path, where: str, prefix: str, above: tuple[Path, ...], ignored: Counter[str]) -> Iterator[str]:
    """Yield the names of the files in a folder and below it; count those that are ignored."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{where}: cannot list {prefix or '.'!r}: {error.strerror}") from None
    for entry in entries:
        if part := ignored_part(entry.name):
            folders = os.walk(entry.path) if entry.is_dir(follow_symlinks=False) else [("", [], [entry.name])]
            ignored[part] += sum(len(files) for _, _, files in folders)
            continue
        name = prefix + checked_name(entry.name, where)
        if entry.is_file():
            yield name
        elif entry.is_dir():
            inner = Path(entry.path).resolve() if entry.is_symlink() else above[-1] / entry.name
            if inner in above:
                raise UserError(f"{where}: {name!r} links to a folder that contains it; remove the link")
            yield from _walk(Path(entry.path), where, f"{name}/", (*above, inner), ignored)
        else:
            raise UserError(f"{where}: {name!r} is neither file nor folder (a broken link or a device); remove it")
