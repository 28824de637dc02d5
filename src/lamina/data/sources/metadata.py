"""Metadata of pictures or texts: a table next to the source, such as hospital, camera, sex and age."""

import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lamina.data.sources.labels import header_cells, read_rows
from lamina.data.sources.members import decode_text, some, to_nfc
from lamina.errors import UserError
from lamina.text import quoted

FILE: Final = "file"
TABLE: Final = "_metadata.parquet"  # in data/raw; readers of Parquet folders skip the underscore


class Metadata:
    """The table of `source.metadata`.

    Args:
        path: CSV with the column `file` and others, separated by comma, semicolon or tab.
        where: Its name in messages.

    Raises:
        UserError: If it is missing or no such table, or has a file twice with different values.
    """

    def __init__(self, path: Path, where: str) -> None:
        try:
            text = decode_text(path.read_bytes())
        except OSError as error:
            raise UserError(f"source.metadata: {where}: cannot read: {error.strerror}; correct the path") from None
        self._where = where
        self._columns, self._rows = _read(text, where)
        self._found = 0, 0

    def __str__(self) -> str:
        found, names = self._found
        return f"metadata of {found} of {names} by {self._where}: {', '.join(self._columns)}"

    def write(self, names: Sequence[str], folder: Path) -> None:
        """Write the metadata of these pictures to `_metadata.parquet`: `name`, and the columns as text.

        A row of the table belongs to the picture of this name, or to the only one of this base name. Rows of other
        files are left out; so are pictures without a row, and cells without text are missing.

        Raises:
            UserError: If no row belongs to a picture.
        """
        bases = Counter(posixpath.basename(to_nfc(name)) for name in names)
        rows = {}
        for name in names:
            full = to_nfc(name)
            base = posixpath.basename(full)
            row = self._rows.get(full) or (self._rows.get(base) if bases[base] == 1 else None)
            if row:
                rows[name] = row
        if not rows:
            raise UserError(
                f"{self._where}: none of its {len(self._rows)} files is in the source ({some(sorted(self._rows))}), "
                f"which has {some(list(names))}; correct the column {FILE}"
            )
        self._found = len(rows), len(names)
        import pandas as pd  # few sources have metadata

        table = pd.DataFrame(list(rows.values()), columns=list(self._columns), dtype="str")
        table.insert(0, "name", list(rows))
        table.to_parquet(folder / TABLE, index=False)


def _read(text: str, where: str) -> tuple[tuple[str, ...], dict[str, tuple[str | None, ...]]]:
    """Return the columns other than the file, and their cells by file."""
    header, lines = read_rows(text, where, (FILE,))
    lower = header_cells(header)
    if FILE not in lower or len(header) < 2 or len({*lower}) < len(lower) or "" in header:
        first = text.partition("\n")[0].strip()
        raise UserError(f"{where}: expected a first line with the column {FILE} and others, got {quoted(first)}")
    at = lower.index(FILE)
    rows: dict[str, tuple[str | None, ...]] = {}
    for line, row in lines:
        cells = [to_nfc(cell.strip()) or None for cell in row]
        if len(cells) != len(header) or cells[at] is None:
            raise UserError(f"{where}, line {line}: expected {len(header)} cells with a file, got {quoted(row)}")
        file, others = str(cells[at]).replace("\\", "/"), tuple(cells[:at] + cells[at + 1 :])
        if rows.setdefault(file, others) != others:
            raise UserError(f"{where}, line {line}: {file!r} has other values than in a line above; keep one of them")
    return tuple(header[:at] + header[at + 1 :]), rows
