"""A first look into a source of texts: how many there are, and how they are labeled."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lamina.data.sources.labels import Labels, folder_label, header_cells, separator_of
from lamina.data.sources.members import MEMBER_BYTES, PICTURE_SUFFIXES, Members, decode_text, to_nfc
from lamina.data.sources.survey import TABLE_SUFFIXES, LabelSurvey, count_labels
from lamina.errors import UserError

TEXT_SUFFIX: Final = ".txt"
COLUMNS: Final = ("text", "label")
REMEDY: Final = "put .txt files into one folder per class, or add a CSV or TSV file with columns text,label"


@dataclass(frozen=True, kw_only=True)
class TextSurvey:
    """What was found in a source of texts.

    Attributes:
        texts: how many there are.
        labels: how they are labeled.
        test_pattern: pattern for the names of a published test part; None where there is none.
    """

    texts: int
    labels: LabelSurvey
    test_pattern: str | None


def holds_texts(members: Members) -> bool:
    """Whether a source has no pictures, but texts: .txt files, or a table with columns text and label."""
    if any(name.lower().endswith(PICTURE_SUFFIXES) for name in members.names):
        return False
    return bool(_texts(members) or _tables(members))


def survey_texts(members: Members) -> TextSurvey:
    """Count the texts of a source and their labels.

    Args:
        members: files of the source; `holds_texts` is true for them.

    Returns:
        What was found.

    Raises:
        UserError: fewer than two classes are there, or a table is not valid.
    """
    tables, names = _tables(members), _texts(members)
    if tables:
        labels, test_pattern = _survey_table(members, tables), None
    else:
        labels = count_labels("folder", (folder_label(members, text) for text in names))
        test_pattern = _test_part(members, names)
    if len(labels.classes) < 2:
        raise UserError(f"{members.where}: nothing to learn: fewer than two labels found for its texts; {REMEDY}")
    texts = sum(labels.classes.values()) + labels.unlabeled + labels.ambiguous
    return TextSurvey(texts=texts, labels=labels, test_pattern=test_pattern)


def _texts(members: Members) -> list[str]:
    return [name for name in members.names if name.lower().endswith(TEXT_SUFFIX)]


def _tables(members: Members) -> list[str]:
    """Tables with columns text and label."""
    named = (name for name in members.names if name.lower().endswith(TABLE_SUFFIXES))
    return [name for name in named if separator_of(decode_text(members.read(name)), COLUMNS)]


def _test_part(members: Members, names: list[str]) -> str | None:
    """The pattern of a test part, where all texts are in folders train and test."""
    parts = {name.removeprefix(members.top).partition("/")[0] for name in names}
    return "^test/" if parts == {"train", "test"} else None


def _survey_table(members: Members, tables: list[str]) -> LabelSurvey:
    """Count the labels of the table with the most rows."""
    found = [
        count_labels(table.removeprefix(members.top), _labels(members.read(table), f"{members.where}: {table}"))
        for table in tables
    ]
    return max(found, key=lambda survey: sum(survey.classes.values()))


def _labels(data: bytes, place: str) -> Iterator[Labels]:
    """The labels of each row: none, one, or several with commas between them."""
    text = decode_text(data)
    limit = csv.field_size_limit(MEMBER_BYTES)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text, COLUMNS) or ",", strict=True)
    try:
        column = header_cells(next(rows)).index("label")
        for row in rows:
            if row:
                cell = row[column] if column < len(row) else ""
                yield tuple(to_nfc(part.strip()) for part in cell.split(",") if part.strip())
    except csv.Error as error:
        raise UserError(f"{place}, line {rows.line_num}: not a CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
