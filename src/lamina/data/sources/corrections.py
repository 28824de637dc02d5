"""Corrected labels: a table next to the source replaces the labels of some of its pictures or texts."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from lamina.data.sources.labels import SEPARATORS, header_cells, read_rows, separator_of
from lamina.data.sources.members import Picture, decode_text, suggestion, to_nfc
from lamina.errors import UserError
from lamina.text import quoted

FILE: Final = "file"
CORRECTED: Final = "corrected"  # of the suspects that the stage inspect lists; people fill it in
LABEL: Final = "label"  # of a table that people write
TABLE: Final = (
    "_corrected.csv"  # in data/raw: which labels were replaced; readers of Parquet folders skip the underscore
)


def read_corrections(path: Path, where: str) -> dict[str, str]:
    """Read a table of corrected labels, separated by comma, semicolon or tab.

    Args:
        path: CSV with the columns `file` and `corrected`, as `data/inspection/suspects.csv`, or `file` and `label`.
            Rows with an empty cell correct nothing.
        where: Its name in error messages.

    Returns:
        The correct label by the name of the picture.

    Raises:
        UserError: If it is missing or no such table, or names a picture twice with two labels.
    """
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise UserError(f"source.corrections: {where}: cannot read: {error.strerror}; correct the path") from None
    column = next((name for name in (CORRECTED, LABEL) if separator_of(text, (FILE, name))), None)
    if column is None:
        found = quoted(text.partition("\n")[0].strip())
        raise UserError(f"{where}: expected a first line with the columns {FILE} and {LABEL}, got {found}")
    found_labels: dict[str, str] = {}
    given, rows = read_rows(text, where, (FILE, column))
    header = header_cells(given)
    separators = "".join(SEPARATORS)
    if broken := next((cell for cell in header if cell != CORRECTED and cell.strip(separators) == CORRECTED), None):
        raise UserError(
            f"{where}: expected a column {CORRECTED}, got {broken!r}; save the table again, with one kind of separator"
        )
    for line, cells in rows:
        row = dict(zip(header, map(str.strip, cells), strict=False))
        name, label = to_nfc(row.get(FILE, "")), to_nfc(row.get(column, ""))
        if not label:
            continue
        if not name:
            raise UserError(f"{where}, line {line}: no file is named for the label {label!r}; name it")
        if found_labels.setdefault(name, label) != label:
            raise UserError(
                f"{where}, line {line}: {name!r} is {label!r} here and {found_labels[name]!r} above; keep one of them"
            )
    return found_labels


class Corrections:
    """Replaces labels of pictures while they are read, and checks at the end that every correction was one.

    Attributes:
        made: name, labels as given, and the corrected label of the pictures whose label was replaced.
    """

    def __init__(self, path: Path, where: str) -> None:
        self.made: list[tuple[str, str, str]] = []
        self._wanted, self._where = read_corrections(path, where), where

    def apply(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """Yield the pictures with correct labels.

        Raises:
            UserError: After the last one, if a correction names no picture, or a label that no picture of the source
                was given.
        """
        wanted, classes, names = dict(self._wanted), set[str](), list[str]()
        for picture in pictures:
            classes.update(picture.labels)
            label = wanted.pop(to_nfc(picture.name), None)
            if label is None:
                names.append(picture.name)
                yield picture
                continue
            if picture.labels != (label,):
                self.made.append((picture.name, " + ".join(picture.labels), label))
            yield replace(picture, labels=(label,))
        if wanted:
            name = next(iter(wanted))
            more = f", and {len(wanted) - 1} more" if len(wanted) > 1 else ""
            raise UserError(f"{self._where}: the source has no file {name!r}{more}{suggestion(name, names)}")
        unknown = next(((name, label) for name, label in self._wanted.items() if label not in classes), None)
        if unknown:
            name, label = unknown
            raise UserError(
                f"{self._where}: {name!r} is corrected to {label!r}, which is no class of the source"
                f"{suggestion(label, sorted(classes))}"
            )

    def __str__(self) -> str:
        return f"corrected {len(self.made)} labels by {self._where}"

    def write(self, folder: Path) -> None:
        """Write what was corrected to `_corrected.csv`."""
        with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerows([("file", "given", "label"), *self.made])
