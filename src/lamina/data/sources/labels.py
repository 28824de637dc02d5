"""Labels of the pictures of a source: by folder, or from a table that names pictures and their labels."""

import csv
import io
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from lamina.data.sources.layout import BY_FOLDER, Labels, Layout, find_layout, folder_level
from lamina.data.sources.members import BROKEN, Members, decode_text, some, stem, to_nfc
from lamina.errors import UserError
from lamina.text import quoted

COLUMNS: Final = ("file", "label")
LABEL_NAMES: Final = (
    "label",
    "labels",
    "class",
    "category",
    "breed",
    "species",
)  # if one of them is alone
SEPARATORS: Final = (",", ";", "\t")
LONGEST_CELL: Final = 2**17  # characters
SAMPLED: Final = 200  # rows of a column of which at least one must name a picture, as half of all must
DOUBLE_QUOTES: Final = "put cells that hold quotes into quotes, and write each quote in them twice"
ONE_HOT: Final = {"0": False, "1": True, "0.0": False, "1.0": True}

Locate = Callable[[str], str | None]  # from a cell to the full name of a picture


class UnfitTableError(UserError):
    """A table labels pictures, but has a mistake; labels: those that it gives nevertheless."""

    def __init__(self, message: str, labels: Mapping[str, Labels]) -> None:
        super().__init__(message)
        self.labels = labels


class UnclearColumnsError(UserError):
    """A table names pictures, but which of its columns hold the label is not clear; others: places of those columns."""

    def __init__(self, message: str, others: Sequence[int]) -> None:
        super().__init__(message)
        self.others = tuple(others)


def find_labels(members: Members, labels: str) -> Callable[[str], Labels]:
    """Return a function from the name of a picture to its labels.

    Args:
        members: Files of the source.
        labels: `folder` (the last folder that a picture lies in and that is no part such as train or test),
            `folder 1` (the first one), `folder 2`, ..., `none`, or the name of a table in the source. Folders count
            below a single top folder.

    Raises:
        UserError: If the table is broken or names files that do not exist, or no picture lies in such a folder.
    """
    if labels == "none":
        return lambda name: ()
    level = folder_level(labels)
    if level is None:
        table = read_labels(members, members.find(labels, "source.labels"))
        return lambda name: table.get(name, ())
    layout = find_layout(members)
    if not any(layout.label(name, level) for name in members.pictures):
        raise UserError(
            f"{members.where}: source.labels is {labels!r}, but {_no_classes(members, layout)}; "
            "put them into one folder per class, or set source.labels to a CSV or none"
        )
    return lambda name: layout.label(name, level)


def _no_classes(members: Members, layout: Layout) -> str:
    found = f"all {len(members.pictures)} {members.content} lie "
    if layout.parts:
        return f"{found}in the folders {some(sorted(layout.levels[layout.parts[0]]))}, which are parts, not classes"
    return f"{found}in one folder" if len(layout.levels) < 2 else f"all {len(members.pictures)} lie in fewer folders"


def other_readings(members: Members, labels: str) -> list[str]:
    """Describe what else the folders may mean where the last one is the class, a line each."""
    if labels != BY_FOLDER:
        return []
    readings = find_layout(members).readings
    classes = readings.pop(BY_FOLDER, {})
    return [
        f"source.labels {BY_FOLDER!r} reads the classes {some(classes)}; {value!r} would read {some(others)}"
        for value, others in readings.items()
    ]


def read_labels(members: Members, table: str) -> dict[str, Labels]:
    """Read the labels of the pictures from a table.

    Its columns are found by `find_columns`. A cell that names a picture is relative to the folder of the table or to
    the root, or its base name is that of only one picture (below the cell's folder, if the source has that), with or
    without the suffix. A picture of two cells has two labels, even equal ones; `split_labels` separates them. Equal
    rows count once; the labels of different rows are combined.

    Args:
        members: Files of the source.
        table: Full name of the table.

    Returns:
        Sorted labels by full name of the picture; pictures without labels are left out.

    Raises:
        UserError: If the table is broken, its columns are not clear, a row names no picture or several, or the first
            line, which has the names of the columns, names a picture.
    """
    place = f"{members.where}: {table}"
    locate = locator(members, table)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    lost = []
    header, rows = _parse(members.read(table), place, locate)
    for file, cell in rows:
        name = locate(file)
        if name is None:
            lost.append(file)
        else:
            found[name] |= Counter(cell)
    read = {name: tuple(sorted(labels.elements())) for name, labels in found.items() if labels}
    if lost:
        problem = (
            f"{place}: {len(lost)} rows name no picture of the source, or a base name that several pictures share "
            f"({some(lost)}); correct the column that names them"
        )
        raise UnfitTableError(problem, read)
    if not header.isidentifier() and locate(header) is not None:  # a picture may be called image.png, as its column
        problem = f"{place}: expected a first line as file,label, but it names the picture {header!r}; add such a line"
        raise UnfitTableError(problem, read)
    return read


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Places of columns: of the file, and either of the label or of the classes, of which one holds 1 in each row."""

    file: int
    label: int | None
    classes: tuple[int, ...] = ()


def parse_labels(data: bytes, place: str, locate: Locate = lambda cell: None) -> Iterator[tuple[str, Labels]]:
    """Read the rows of a table, separated by comma, semicolon or tab.

    Args:
        data: Bytes in UTF-8, UTF-16, Windows-1252 or Latin-1.
        place: Name of the table in error messages.
        locate: From a cell to the picture that it names.

    Yields:
        (file, labels) of each row.

    Raises:
        UserError: With the line number of the error.
    """
    yield from _parse(data, place, locate)[1]


def _parse(data: bytes, place: str, locate: Locate) -> tuple[str, Iterable[tuple[str, Labels]]]:
    """The name of the column that names the pictures, and what `parse_labels` yields."""
    header, rows = read_rows(decode_text(data), place)
    columns = find_columns(header, [row for _, row in rows], locate, place)
    for line, row in rows:
        if len(row) > len(header) or len(row) <= columns.file or not row[columns.file].strip():
            raise UserError(
                f"{place}, line {line}: expected a file and a label, {len(header)} cells in all, got {quoted(row)}; "
                "quote cells that hold the separator"
            )
    files = [row[columns.file].strip() for _, row in rows]
    if columns.label is None:
        cells: list[Labels] = [(header[_hot(row, columns.classes)],) for _, row in rows]
    else:
        cells = split_labels([_cell(row, columns.label) for _, row in rows])
    return header[columns.file], zip(files, cells, strict=True)


def broken_note(text: str, name: str) -> list[str]:
    """Note how many characters of a table could not be decoded, in a line; nothing where all could."""
    broken = text.count(BROKEN)
    return [f"warning: {name}: {broken} characters are broken (U+FFFD); save it again as UTF-8"] * bool(broken)


def split_labels(cells: Sequence[str]) -> list[Labels]:
    """Separate the labels in the cells of a table.

    Commas separate labels if each of them stands alone in another cell, or all are equal: `cat, dog`, `cat, cat`. Else
    they belong to the name: `tench, Tinca tinca`.
    """
    parts = {cell: tuple(to_nfc(part.strip()) for part in cell.split(",") if part.strip()) for cell in {*cells}}
    alone = {labels[0] for labels in parts.values() if len(labels) == 1}
    return [
        labels if len({*labels}) < 2 or alone.issuperset(labels) else (to_nfc(cell.strip()),)
        for cell, labels in ((cell, parts[cell]) for cell in cells)
    ]


def read_rows(
    text: str, place: str, columns: Collection[str] = COLUMNS
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a table, separated by comma, semicolon or tab.

    Args:
        text: Of the table.
        place: Its name in error messages.
        columns: If it has these, they tell the separator.

    Returns:
        The stripped cells of the first line, and the other rows that are not blank, with their line numbers.

    Raises:
        UserError: With the line that is no row of a table.
    """
    first = text.partition("\n")[0].strip()
    separator = separator_of(text, columns) or max(SEPARATORS, key=first.count)
    csv.field_size_limit(LONGEST_CELL)  # of the process: TensorFlow Datasets removes it
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [to_nfc(cell.strip()) for cell in next(rows, [])]
        # programs for tables write lines of separators alone below the last row
        found = [(rows.line_num, row) for row in rows if any(map(str.strip, row))]
    except csv.Error as error:
        raise UserError(f"{place}, line {rows.line_num}: not a CSV: {error}") from None
    for line, row in found:
        check_not_joined(row, separator, f"{place}, line {line}")
    return header, found


def check_not_joined(row: Sequence[str], separator: str, place: str) -> None:
    """Refuse a row of a TSV into which a quote that is not closed joins others: a cell of it holds tabs and line ends.

    A cell of a CSV may hold commas and line ends.
    """
    if separator == "\t" and any("\t" in cell and "\n" in cell for cell in row):
        raise UserError(
            f"{place}: here ends a cell of several lines with tabs: a quote joins their rows to one; {DOUBLE_QUOTES}"
        )


def find_columns(header: list[str], rows: list[list[str]], locate: Locate, place: str) -> Columns:
    """Find the columns that name the picture and its label.

    The file is in the column `file`, or else in the one whose cells name most pictures, at least half as many as there
    are rows. The label is in the column `label`, or in the only one of `LABEL_NAMES`, or in the only other column. Or
    every other column is a class, and in every row one holds 1 and the others 0.
    """
    lower = [name.lower() for name in header]
    if {*COLUMNS} <= {*lower}:
        return Columns(file=lower.index("file"), label=lower.index("label"))
    found = {at: _located(rows, at, locate) for at in range(len(header)) if lower[at] not in LABEL_NAMES}
    counts = {at: len({*names} - {None}) for at, names in found.items()}
    seen = ", ".join(map(repr, header)) or "no columns"
    file = lower.index("file") if "file" in lower else max(counts, key=lambda at: counts[at], default=None)
    if file is None or ("file" not in lower and 2 * counts[file] < max(1, len(rows))):
        raise UserError(
            f"{place}: expected a first line with the columns file and label, got {seen[:200]}, of which none "
            "names the pictures; correct or rename the columns"
        )
    others = [at for at in range(len(header)) if at != file and found.get(at) != found.get(file)]
    named = [at for at in others if lower[at] in LABEL_NAMES]
    if len(named) == 1 or len(others) == 1:
        return Columns(file=file, label=(named or others)[0])
    if others and rows and all(_is_one_hot([_cell(row, at) for at in others]) for row in rows):
        return Columns(file=file, label=None, classes=tuple(others))
    raise UnclearColumnsError(
        f"{place}: the column {header[file]!r} names the pictures, but which of the others holds the label is not "
        f"clear ({', '.join(header[at] for at in others)[:200] or 'there is none'}); rename that column to label",
        others,
    )


def _located(rows: list[list[str]], at: int, locate: Locate) -> list[str | None]:
    """The picture that each cell of a column names; a table may have a million numbers, of which none names any."""
    some_rows = rows[:: max(1, len(rows) // SAMPLED)]
    names_some = any(locate(_cell(row, at)) for row in some_rows)
    return [locate(_cell(row, at)) if names_some else None for row in rows]


def _cell(row: list[str], at: int) -> str:
    return row[at].strip() if at < len(row) else ""


def _hot(row: list[str], classes: Sequence[int]) -> int:
    return next(at for at in classes if ONE_HOT[_cell(row, at)])


def _is_one_hot(cells: list[str]) -> bool:
    return all(cell in ONE_HOT for cell in cells) and sum(ONE_HOT[cell] for cell in cells) == 1


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


def locator(members: Members, table: str) -> Locate:
    """Return a function from a `file` cell to the full name of the picture, or None."""
    full = {to_nfc(name): name for name in members.pictures}
    bases: dict[str, list[str]] = defaultdict(list)
    stems: dict[str, list[str]] = defaultdict(list)
    base_stems: dict[str, list[str]] = defaultdict(list)
    for name in full:
        bases[posixpath.basename(name)].append(name)
        stems[posixpath.splitext(name)[0]].append(name)
        base_stems[stem(name)].append(name)
    folders = dict.fromkeys((posixpath.dirname(table), "", members.top))
    there = _folders_above(full)

    def locate(file: str) -> str | None:
        wanted = to_nfc(file).replace("\\", "/")
        for folder in folders:
            place = posixpath.normpath(posixpath.join(folder, wanted))
            if place in full:
                return full[place]
            if len(stems.get(place, [])) == 1:
                return full[stems[place][0]]
        base = posixpath.basename(wanted)
        matches = bases.get(base) or base_stems.get(base, [])
        inside = posixpath.dirname(wanted)
        named = {posixpath.normpath(posixpath.join(folder, inside)) for folder in folders} & there if inside else set()
        if named:  # train/1.png that is missing is not test/1.png
            matches = [name for name in matches if name.startswith(tuple(f"{folder}/" for folder in named))]
        return full[matches[0]] if len(matches) == 1 else None

    return locate


def _folders_above(names: Iterable[str]) -> set[str]:
    found = set[str]()
    for folder in {posixpath.dirname(name) for name in names}:
        while folder and folder not in found:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return found
