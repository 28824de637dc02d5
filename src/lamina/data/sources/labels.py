"""What a source tells about its pictures' labels: by folder, or by a CSV with columns file and label."""

import csv
import io
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from lamina.data.sources.members import Members, decode_text, normal, some
from lamina.errors import UserError

Labels = tuple[str, ...]

COLUMNS: Final = ("file", "label")
SEPARATORS: Final = (",", ";", "\t")


def find_labels(members: Members, labels: str) -> Callable[[str], Labels]:
    """Give the function from a picture's name to the labels told of it.

    labels: `folder` (the folder that a picture lies in, unless that is the root or the single top folder),
    `none`, or the name of a CSV inside the source. A picture of two cells has two labels, be they the same.
    Raises UserError where the CSV is broken or names files that are not there, or no folder tells a label.
    """
    if labels == "none":
        return lambda name: ()
    if labels != "folder":
        told = read_labels(members, members.find(labels, "source.labels"))
        return lambda name: told.get(name, ())
    if not any(folder_label(members, name) for name in members.pictures):
        raise UserError(
            f"{members.where}: source.labels is 'folder', but all {len(members.pictures)} {members.content} lie "
            "in one folder; "
            "put them into one folder per class, or set source.labels to a CSV or none"
        )
    return lambda name: folder_label(members, name)


def folder_label(members: Members, name: str) -> Labels:
    """The name of the folder that a picture lies in; nothing at the root or in the single top folder."""
    folder = posixpath.dirname(name.removeprefix(members.top))
    return (normal(posixpath.basename(folder)),) if folder else ()


def read_labels(members: Members, table: str) -> dict[str, Labels]:
    """Read a CSV's labels per picture; pictures without one are left out.

    table: full name of the CSV. Its `file` cells are relative to its own folder or to the source's root, or
    else a base name that one picture alone bears; a `label` cell may hold several, separated by commas. Rows
    that tell the same of a picture count once; the labels of rows that disagree are joined.
    """
    place = f"{members.where}: {table}"
    locate = _locator(members, table)
    told: dict[str, Counter[str]] = defaultdict(Counter)
    lost = []
    for file, cell in parse_labels(members.read(table), place):
        name = locate(file)
        if name is None:
            lost.append(file)
        else:
            told[name] |= Counter(cell)
    if lost:
        raise UserError(
            f"{place}: {len(lost)} rows name what is no picture of the source, or a base name that several share "
            f"({some(lost)}); mend the column 'file'"
        )
    return {name: tuple(sorted(labels.elements())) for name, labels in told.items() if labels}


def parse_labels(data: bytes, place: str) -> Iterator[tuple[str, Labels]]:
    """Read the rows (file, labels told) of a CSV.

    UTF-8, UTF-16, Windows-1252 or Latin-1; separated by comma, semicolon or tab; other columns are skipped.
    place: how messages name the CSV. Raises UserError with the line of what is wrong.
    """
    text = decode_text(data)
    separator = _separator(text)
    if separator is None:
        first = text.partition("\n")[0].strip()[:80]
        raise UserError(f"{place}: expected a first line with the columns file and label, got {first!r}")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = _header(next(rows))
        file, label = (header.index(column) for column in COLUMNS)
        for row in rows:
            if len(row) > len(header) or (row and not row[file].strip()):
                raise UserError(f"{place}, line {rows.line_num}: expected {_expected(header, separator)}, got {row}")
            if row:
                cell = row[label] if label < len(row) else ""
                yield row[file].strip(), tuple(normal(part.strip()) for part in cell.split(",") if part.strip())
    except csv.Error as error:
        raise UserError(f"{place}, line {rows.line_num}: not a CSV: {error}") from None
    except IndexError:
        raise UserError(f"{place}, line {rows.line_num}: expected {_expected(header, separator)}") from None


def _expected(header: list[str], separator: str) -> str:
    return f"a file and a label, {len(header)} cells in all (quote a label that holds {separator!r})"


def is_label_table(data: bytes) -> bool:
    """Whether a text file's first line names the columns file and label."""
    return _separator(decode_text(data)) is not None


def _separator(text: str) -> str | None:
    """The separator under which the first line has both columns."""
    first = text.split("\n", 1)[0].rstrip("\r")
    for separator in SEPARATORS:
        with suppress(csv.Error):
            if set(COLUMNS) <= set(_header(next(csv.reader([first], delimiter=separator), []))):
                return separator
    return None


def _header(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _locator(members: Members, table: str) -> Callable[[str], str | None]:
    """Give the function from a `file` cell to the picture's full name, or None."""
    full = {normal(name): name for name in members.pictures}
    bases: dict[str, list[str]] = defaultdict(list)
    for name in full:
        bases[posixpath.basename(name)].append(name)
    folders = dict.fromkeys((posixpath.dirname(table), "", members.top))

    def locate(file: str) -> str | None:
        wanted = normal(file).replace("\\", "/")
        for folder in folders:
            found = full.get(posixpath.normpath(posixpath.join(folder, wanted)))
            if found is not None:
                return found
        alike = bases.get(posixpath.basename(wanted), [])
        return full[alike[0]] if len(alike) == 1 else None

    return locate
