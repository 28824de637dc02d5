"""Labels of the pictures of a source: by folder, or from a CSV with the columns file and label."""

import csv
import io
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Final

from lamina.data.sources.members import Members, decode_text, some, to_nfc
from lamina.errors import UserError
from lamina.text import quoted

Labels = tuple[str, ...]

COLUMNS: Final = ("file", "label")
SEPARATORS: Final = (",", ";", "\t")


def find_labels(members: Members, labels: str) -> Callable[[str], Labels]:
    """Return a function from the name of a picture to its labels.

    Args:
        members: Files of the source.
        labels: `folder` (the folder that a picture lies in, unless it is the root or the single top folder), `none`,
            or the name of a CSV in the source.

    Raises:
        UserError: If the CSV is broken or names files that do not exist, or no picture lies in a folder.
    """
    if labels == "none":
        return lambda name: ()
    if labels != "folder":
        table = read_labels(members, members.find(labels, "source.labels"))
        return lambda name: table.get(name, ())
    if not any(folder_label(members, name) for name in members.pictures):
        raise UserError(
            f"{members.where}: source.labels is 'folder', but all {len(members.pictures)} {members.content} lie "
            "in one folder; "
            "put them into one folder per class, or set source.labels to a CSV or none"
        )
    return lambda name: folder_label(members, name)


def folder_label(members: Members, name: str) -> Labels:
    """Return the name of the folder that a picture lies in; empty at the root and in the single top folder."""
    folder = posixpath.dirname(name.removeprefix(members.top))
    return (to_nfc(posixpath.basename(folder)),) if folder else ()


def read_labels(members: Members, table: str) -> dict[str, Labels]:
    """Read the labels of the pictures from a CSV.

    A `file` cell is relative to the folder of the CSV or to the root, or is a base name that only one picture has. A
    `label` cell may hold several labels, separated by commas; a picture of two cells has two, even equal ones. Equal
    rows count once; the labels of different rows are combined.

    Args:
        members: Files of the source.
        table: Full name of the CSV.

    Returns:
        Sorted labels by full name of the picture; pictures without labels are left out.

    Raises:
        UserError: If the CSV is broken, or a row names no picture or several.
    """
    place = f"{members.where}: {table}"
    locate = _locator(members, table)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    lost = []
    for file, cell in parse_labels(members.read(table), place):
        name = locate(file)
        if name is None:
            lost.append(file)
        else:
            found[name] |= Counter(cell)
    if lost:
        raise UserError(
            f"{place}: {len(lost)} rows name no picture of the source, or a base name that several pictures share "
            f"({some(lost)}); correct the column 'file'"
        )
    return {name: tuple(sorted(labels.elements())) for name, labels in found.items() if labels}


def parse_labels(data: bytes, place: str) -> Iterator[tuple[str, Labels]]:
    """Read the rows of a CSV, separated by comma, semicolon or tab; other columns are skipped.

    Args:
        data: Bytes in UTF-8, UTF-16, Windows-1252 or Latin-1.
        place: Name of the CSV in error messages.

    Yields:
        (file, labels) of each row.

    Raises:
        UserError: With the line number of the error.
    """
    text = decode_text(data)
    separator = separator_of(text, COLUMNS)
    if separator is None:
        first = text.partition("\n")[0].strip()[:80]
        raise UserError(f"{place}: expected a first line with the columns file and label, got {first!r}")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = header_cells(next(rows))
        file, label = (header.index(column) for column in COLUMNS)
        for row in rows:
            if len(row) > len(header) or (row and not row[file].strip()):
                raise UserError(
                    f"{place}, line {rows.line_num}: expected {_expected(header, separator)}, got {quoted(row)}"
                )
            if row:
                cell = row[label] if label < len(row) else ""
                yield row[file].strip(), tuple(to_nfc(part.strip()) for part in cell.split(",") if part.strip())
    except csv.Error as error:
        raise UserError(f"{place}, line {rows.line_num}: not a CSV: {error}") from None
    except IndexError:
        raise UserError(f"{place}, line {rows.line_num}: expected {_expected(header, separator)}") from None


def _expected(header: list[str], separator: str) -> str:
    return f"a file and a label, {len(header)} cells in all (quote a label that holds {separator!r})"


def is_label_table(data: bytes) -> bool:
    """Whether the first line of a text file has the columns file and label."""
    return separator_of(decode_text(data), COLUMNS) is not None


def separator_of(text: str, columns: Collection[str]) -> str | None:
    """Return the separator for which the first line of a table has these columns, or None."""
    first = text.split("\n", 1)[0].rstrip("\r")
    for separator in SEPARATORS:
        with suppress(csv.Error):
            if set(columns) <= set(header_cells(next(csv.reader([first], delimiter=separator), []))):
                return separator
    return None


def header_cells(cells: list[str]) -> list[str]:
    """Return the names of a table's columns, stripped and in lower case."""
    return [cell.strip().lower() for cell in cells]


def _locator(members: Members, table: str) -> Callable[[str], str | None]:
    """Return a function from a `file` cell to the full name of the picture, or None."""
    full = {to_nfc(name): name for name in members.pictures}
    bases: dict[str, list[str]] = defaultdict(list)
    for name in full:
        bases[posixpath.basename(name)].append(name)
    folders = dict.fromkeys((posixpath.dirname(table), "", members.top))

    def locate(file: str) -> str | None:
        wanted = to_nfc(file).replace("\\", "/")
        for folder in folders:
            found = full.get(posixpath.normpath(posixpath.join(folder, wanted)))
            if found is not None:
                return found
        matches = bases.get(posixpath.basename(wanted), [])
        return full[matches[0]] if len(matches) == 1 else None

    return locate
