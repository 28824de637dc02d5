"""Tables in a new source of texts: rows that are texts, or names of texts with their labels or numbers."""

import csv
import io
from dataclasses import replace
from typing import Final

from lamina.data.sources.labels import broken_note, header_cells, separator_of, split_labels
from lamina.data.sources.members import MEMBER_BYTES, Members, decode_text
from lamina.data.sources.survey import TABLE_SUFFIXES, LabelSurvey, count_labels, survey_labels, unused_tables
from lamina.data.sources.target_survey import TargetSurvey, survey_targets, unlike_classes
from lamina.errors import UserError

COLUMNS: Final = ("text", "label")  # of a table of texts
NO_LABELS: Final = "none"  # `source.labels` of a source without labels


def survey_named(members: Members) -> LabelSurvey:
    """Labels or numbers in a table that names the texts."""
    targets = _find_targets(members)
    found = None if targets else survey_labels(members)
    unlabeled = replace(count_labels(NO_LABELS, (() for _ in members.pictures)), targets=targets)
    return found if found and len(found.classes) > 1 else unlabeled


def _find_targets(members: Members) -> TargetSurvey | None:
    """Labels or numbers in a table that names the texts, the certain ones first."""
    tables = [name for name in members.names if name.lower().endswith(TABLE_SUFFIXES)]
    found = [one for name in tables if (one := survey_targets(members, name))]
    return next((one for one in found if one.certain), next(iter(found), None))


def text_tables(members: Members) -> list[str]:
    """Tables with columns text and label."""
    named = (name for name in members.names if name.lower().endswith(TABLE_SUFFIXES))
    return [name for name in named if separator_of(decode_text(members.read(name)), COLUMNS)]


def survey_text_table(members: Members, tables: list[str]) -> LabelSurvey:
    """Count the labels of the table with the most rows."""
    cells = {table: _cells(members.read(table), f"{members.where}: {table}") for table in tables}
    found = {table: count_labels(table.removeprefix(members.top), split_labels(cells[table])) for table in tables}
    table = max(found, key=lambda one: sum(found[one].classes.values()))
    unused = [found[one].labels for one in tables if one != table]
    unlike = unlike_classes([cell for cell in cells[table] if cell.strip()], found[table].labels)
    broken = broken_note(decode_text(members.read(table)), found[table].labels)
    return replace(found[table], notes=(*unused_tables(unused), *unlike, *broken))


def _cells(data: bytes, place: str) -> list[str]:
    """The cell of the label in each row."""
    text = decode_text(data)
    limit = csv.field_size_limit(MEMBER_BYTES)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text, COLUMNS) or ",", strict=True)
    try:
        column = header_cells(next(rows)).index("label")
        return [row[column] if column < len(row) else "" for row in rows if row]
    except csv.Error as error:
        raise UserError(f"{place}, line {rows.line_num}: not a CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
