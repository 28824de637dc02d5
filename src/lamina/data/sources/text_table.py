"""Texts as rows of a CSV or TSV with the columns text and label."""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from lamina.data.sources.config import SourceConfig
from lamina.data.sources.labels import COLUMNS as FILE_COLUMNS
from lamina.data.sources.labels import (
    DOUBLE_QUOTES,
    SEPARATORS,
    UnclearColumnsError,
    check_not_joined,
    find_columns,
    locator,
    read_rows,
    split_labels,
)
from lamina.data.sources.layout import folder_level
from lamina.data.sources.members import MEMBER_BYTES, Members, Picture, decode_text
from lamina.errors import UserError

TEXT: Final = "text"
LABEL: Final = "label"
ORIGINS: Final = ("origin", "id")  # the first of these columns that is there says which rows belong together
DIGITS: Final = 6  # of a row's number, at least


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table whose rows are texts.

    name: full name of the file; place: how messages name it; content: the decoded file; separator: of its cells;
    labels: of each cell of the column label, one for each row; empty lines not counted.
    """

    name: str
    place: str
    content: str
    separator: str
    labels: tuple[tuple[str, ...], ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.labels)

    def read(self, find_origin: Callable[[str], str]) -> Iterator[Picture]:
        """Read the rows in their order, named `FILE/000001` and so on.

        find_origin: what `source.origin` finds in a value of the column `origin` or `id`. A row without such a value
        is an origin of its own.
        """
        digits = max(DIGITS, len(str(self.rows)))
        rows = zip(_rows(self.content, self.separator, self.place), self.labels, strict=True)
        for number, ((text, _, origin), labels) in enumerate(rows, start=1):
            name = f"{self.name}/{number:0{digits}d}"
            yield Picture(
                name=name, encoded=text.encode(), labels=labels, origin=find_origin(origin) if origin else name
            )


def find_text_table(members: Members, config: SourceConfig) -> TextTable | None:
    """Open the table of texts that `source.labels` names.

    Returns None where the source holds pictures, where labels come from folders, or where the table names files.
    Raises UserError with the line of what is wrong with the table: all rows are checked here.
    """
    if config.content != "texts" or config.labels == "none" or folder_level(config.labels) is not None:
        return None
    name = members.find(config.labels, "source.labels")
    place = f"{members.where}: {name}"
    content = decode_text(members.read(name))
    separator, header = _first_line(content)
    if separator is None or not {TEXT, LABEL} <= set(header):
        if set(FILE_COLUMNS) <= set(header) or _names_texts(replace(members, content="texts"), name, content):
            return None
        raise UserError(
            f"{place}: expected a first line with the columns text and label, or file and label, got {_shown(header)}"
        )
    labels = tuple(split_labels([cell for _, cell, _ in _rows(content, separator, place)]))
    if not labels:
        raise UserError(f"{place}: no rows below the first line; expected one text a row")
    return TextTable(name=name, place=place, content=content, separator=separator, labels=labels)


def _names_texts(members: Members, name: str, content: str) -> bool:
    """Whether a column of the table names texts, as `lamina.data.sources.labels.read_labels` finds it."""
    try:
        header, rows = read_rows(content, name)
        find_columns(header, [row for _, row in rows], locator(members, name), name)
    except UnclearColumnsError:
        return True  # what reads the labels says which columns they are
    except UserError:
        return False
    return True


def _rows(content: str, separator: str, place: str) -> Iterator[tuple[str, str, str]]:
    """(text, cell of the label, origin or nothing) of each row."""
    csv.field_size_limit(MEMBER_BYTES)  # Python's own limit, 128 KiB, is shorter than some texts
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(rows)]
        text, label = header.index(TEXT), header.index(LABEL)
        origin = next((header.index(column) for column in ORIGINS if column in header), None)
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{place}, line {rows.line_num}: expected {len(header)} cells, got {len(row)}; "
                    f"quote texts that hold {separator!r} or line ends"
                )
            check_not_joined(row, separator, f"{place}, line {rows.line_num}")
            yield row[text], row[label], row[origin].strip() if origin is not None else ""
    except csv.Error as error:
        raise UserError(f"{place}, line {rows.line_num}: not a CSV: {error}; {DOUBLE_QUOTES}") from None


def _first_line(content: str) -> tuple[str | None, list[str]]:
    """The separator under which the first line has most of the known columns, and its cells in lower case."""
    first = content.split("\n", 1)[0].rstrip("\r")[:10_000]
    found: tuple[str | None, list[str]] = (None, [first.strip()])
    most = 0
    for separator in SEPARATORS:
        with suppress(csv.Error):
            cells = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=separator), [])]
            known = len({TEXT, LABEL, *FILE_COLUMNS} & set(cells))
            if known > most:
                found, most = (separator, cells), known
    return found


def _shown(header: list[str]) -> str:
    return ", ".join(repr(cell[:40]) for cell in header[:8])
