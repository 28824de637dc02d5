"""Metadata of pictures or texts: a table next to the source, such as hospital, camera, sex and age."""

import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lamina.data.sources.labels import header_cells, read_rows
from lamina.data.sources.members import decode_text, some, stem, to_nfc
from lamina.errors import UserError
from lamina.text import quoted

FILE: Final = "file"
TABLE: Final = "_metadata.parquet"  # in data/raw; readers of Parquet folders skip the underscore
KEYS: Final = ("id", "name")  # of the tables that the stages write


class Metadata:
    """The table of `source.metadata`.

    Args:
        path: CSV with the column `file`, or another one that names the pictures, and others, separated by comma,
            semicolon or tab.
        where: Its name in messages.

    Raises:
        UserError: If it is missing or no such table, has a file twice with different values, or a column of `KEYS`.
    """

    def __init__(self, path: Path, where: str) -> None:
        try:
            text = decode_text(path.read_bytes())
        except OSError as error:
            raise UserError(f"source.metadata: {where}: cannot read: {error.strerror}; correct the path") from None
        self._where = where
        self._header, self._lines = _read(text, where)
        lower = header_cells(self._header)
        self._file: int | None = None
        self._found = 0, 0
        if FILE in lower:
            self._take_files(lower.index(FILE))

    def __str__(self) -> str:
        found, names = self._found
        return f"metadata of {found} of {names} by {self._where}: {', '.join(self._columns)}"

    @property
    def _columns(self) -> list[str]:
        return [name for at, name in enumerate(self._header) if at != self._file]

    def write(self, names: Sequence[str], folder: Path) -> None:
        """Write the metadata of these pictures to `_metadata.parquet`: `name`, and the columns as text.

        A row of the table belongs to the picture of this name, with or without a top folder that all names share, or
        to the only one of this base name; with or without the suffix. Rows of other files are left out; so are pictures
        without a row, and cells without text are missing.

        Raises:
            UserError: If no row belongs to a picture, or as for the class.
        """
        aliases = _aliases(names)
        if self._file is None:
            self._take_files(self._find_file({alias for its in aliases.values() for alias in its}))
        assert self._file is not None
        rows = {
            name: self._rows[alias]
            for name, its in aliases.items()
            if (alias := next((one for one in its if one in self._rows), None)) is not None
        }
        if not rows:
            raise UserError(
                f"{self._where}: none of its {len(self._rows)} files is in the source ({some(sorted(self._rows))}), "
                f"which has {some(list(names))}; correct the column {self._header[self._file]}"
            )
        self._found = len(rows), len(names)
        import pandas as pd  # few sources have metadata

        table = pd.DataFrame(list(rows.values()), columns=self._columns, dtype="str")
        table.insert(0, "name", list(rows))
        table.to_parquet(folder / TABLE, index=False)

    def _take_files(self, at: int) -> None:
        """Take the files of the rows from column `at`."""
        self._file, self._rows = at, self._by_file(at)
        taken = next((name for name in self._columns if name in KEYS), None)
        if taken:
            raise UserError(
                f"{self._where}: the column {taken!r} has the name of one that lamina adds to the table; rename it"
            )

    def _find_file(self, known: set[str]) -> int:
        """Find the column whose cells name most pictures, in at least half of the rows."""
        named = [len({row[at] for _, row in self._lines} & known) for at in range(len(self._header))]
        if 2 * max(named) < max(2, len(self._lines)):
            raise _no_file(self._where, ",".join(self._header))
        return named.index(max(named))

    def _by_file(self, at: int) -> dict[str, tuple[str | None, ...]]:
        """Return the other cells of each row by its file, in column `at`."""
        rows: dict[str, tuple[str | None, ...]] = {}
        for line, row in self._lines:
            if row[at] is None:
                raise UserError(f"{self._where}, line {line}: expected {len(row)} cells with a file, got {quoted(row)}")
            file, others = str(row[at]).replace("\\", "/"), tuple(row[:at] + row[at + 1 :])
            if rows.setdefault(file, others) != others:
                raise UserError(
                    f"{self._where}, line {line}: {file!r} has other values than in a line above; keep one of them"
                )
        return rows


def _read(text: str, where: str) -> tuple[list[str], list[tuple[int, list[str | None]]]]:
    """Return the columns, and the rows with their line numbers; cells without text are None."""
    header, lines = read_rows(text, where, (FILE,))
    if len(header) < 2 or len({*header_cells(header)}) < len(header) or "" in header:
        raise _no_file(where, text.partition("\n")[0].strip())
    rows = []
    for line, row in lines:
        if len(row) != len(header):
            raise UserError(f"{where}, line {line}: expected {len(header)} cells with a file, got {quoted(row)}")
        rows.append((line, [to_nfc(cell.strip()) or None for cell in row]))
    return header, rows


def _no_file(where: str, first: str) -> UserError:
    return UserError(f"{where}: expected a first line with the column {FILE} and others, got {quoted(first)}")


def _aliases(names: Sequence[str]) -> dict[str, list[str]]:
    """Return what a table may call each picture: its name, and what no other one is called, the best first."""
    tops = {to_nfc(name).partition("/")[0] for name in names}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    found = {name: _called(to_nfc(name), top) for name in names}
    counts = Counter(alias for its in found.values() for alias in its)
    return {
        name: [alias for at, alias in enumerate(its) if at == 0 or counts[alias] == 1] for name, its in found.items()
    }


def _called(name: str, top: str) -> list[str]:
    below, base = name.removeprefix(top), posixpath.basename(name)
    return list(dict.fromkeys([name, below, base, *(posixpath.splitext(one)[0] for one in (name, below)), stem(base)]))
