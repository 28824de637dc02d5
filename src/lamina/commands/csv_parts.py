"""A CSV that is written in parts: after an interruption only missing parts are made, with the same bytes in the end.

Parts lie in the folder `OUT.csv.parts`, each written at once, next to `about.json`, which says what made them.
At the end they are joined, and the folder is removed.
"""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from lamina.errors import UserError
from lamina.files import discard, json_digest, read_json, staged, write_json
from lamina.locks import exclusive

PART: Final = 2048  # rows
_ABOUT: Final = "about.json"
_NEWLINE: Final = "\n"

T = TypeVar("T")
Row = Mapping[str, object]


def write_csv(
    out: Path,
    items: Sequence[T],
    made_by: Mapping[str, Any],
    rows: Callable[[Sequence[Sequence[T]]], Iterator[Row]],
    *,
    failed: str,
) -> int:
    """Write a CSV with a row for each item, and continue it if an earlier call with the same arguments was interrupted.

    Args:
        out: The CSV.
        items: What the rows are about, at least one.
        made_by: What decides the rows. Parts that were made by anything else are made again, with a note.
        rows: Makes the rows of some parts, each a piece of `items`, in their order; all have the same columns.
        failed: Column that is not empty if there is no answer for an item.

    Returns:
        Number of rows in which `failed` is not empty.

    Raises:
        UserError: If `out` is there already, its folder is not, or another process is writing it.
    """
    check_free(out)
    folder = out.with_name(f"{out.name}.parts")
    with exclusive(folder / "lock", str(out), patience=0), _removed_if_empty(folder):
        check_free(out)  # another process may have finished it
        _keep_parts_of(folder, made_by)
        parts = {
            folder / f"{start // PART:05}.csv": items[start : start + PART] for start in range(0, len(items), PART)
        }
        missing = {path: part for path, part in parts.items() if not path.exists()}
        there = len(items) - sum(map(len, missing.values()))
        if there:
            print(f"{out}: {there} of {len(items)} rows were there already; continuing", file=sys.stderr)
        made = rows(list(missing.values()))
        for path, part in missing.items():
            _write_part(path, islice(made, len(part)), header=path == next(iter(parts)))
        with staged(out) as joined, joined.open("wb") as file:
            for path in parts:
                with path.open("rb") as part_file:
                    shutil.copyfileobj(part_file, file)
        for path in parts:
            path.unlink()
    with out.open(encoding="utf-8", newline="") as file:
        return sum(bool(row[failed]) for row in csv.DictReader(file))


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove the folder of parts at the end if it holds none, also after an error."""
    try:
        yield
    finally:
        if not any(folder.glob("*.csv")):
            discard(folder)


def check_free(out: Path) -> None:
    """Refuse a CSV that is there already, or whose folder is not.

    Raises:
        UserError: If so.
    """
    if out.exists():
        raise UserError(f"{out}: is there already, expected a new file; remove it, or name another one")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder; make it, or name another file")


def _keep_parts_of(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Remove parts that were made by anything else, and say what was different."""
    digests = {name: json_digest(value) for name, value in made_by.items()}
    about = folder / _ABOUT
    known = read_json(about) if about.exists() else {}
    if known == digests:
        return
    parts = list(folder.glob("*.csv"))
    if parts:
        other = ", ".join(name for name in digests if known.get(name) != digests[name])
        print(f"note: {folder} was made with another {other or 'version'}; starting again", file=sys.stderr)
    for path in parts:
        discard(path)
    write_json(about, digests)


def _write_part(path: Path, rows: Iterable[Row], *, header: bool) -> None:
    with staged(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator=_NEWLINE)
        for number, row in enumerate(rows):
            if header and number == 0:
                writer.writerow(row)
            writer.writerow(map(_cell, row.values()))


def encodable(text: str) -> str:
    """Return a text in which what UTF-8 cannot hold, as in names of files that are not UTF-8, is escaped as in JSON."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cell(value: object) -> object:
    """Return what a cell holds: numbers of the precision of float32, lists and mappings as JSON."""
    if isinstance(value, float):
        return f"{value:.8g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else value
