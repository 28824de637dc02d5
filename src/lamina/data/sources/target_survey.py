"""Tables of a new source whose labels are no classes: numbers, or several labels a picture."""

import math
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lamina.data.sources.labels import UnclearColumnsError, find_columns, locator, read_rows, split_labels
from lamina.data.sources.members import Members, decode_text
from lamina.errors import UserError
from lamina.maths.decimals import with_decimal_points

DISTINCT: Final = 8  # numbers from which on a column may hold amounts
LISTS: Final = ("|", ";")  # separate labels in a cell; so do commas, where `split_labels` says so
FLAGS: Final = frozenset({"0", "1", "-1", "0.0", "1.0", "-1.0"})
HELD: Final = frozenset({"1", "1.0"})
SHOWN: Final = 100  # letters of the names of columns


@dataclass(frozen=True, kw_only=True)
class TargetSurvey:
    """Columns of a table that a run can learn from as `source.metadata`.

    Attributes:
        table: Full name of the table.
        task: `regress` or `multilabel`.
        columns: One of numbers or of lists; or several, one per label, of which some rows hold more than one.
        found: What they hold, in words.
        certain: Whether they cannot be classes.
    """

    table: str
    task: str
    columns: tuple[str, ...]
    found: str
    certain: bool

    @property
    def key(self) -> str:
        """The setting of a run that names the columns."""
        return "target" if self.task == "regress" else "targets"

    @property
    def value(self) -> str | list[str]:
        """The value of `key`."""
        return self.columns[0] if self.task == "regress" else list(self.columns)

    @property
    def advice(self) -> str:
        """What to write to learn from them, in words."""
        named = self.columns[0] if self.task == "regress" else f"[{', '.join(self.columns)}]"
        if len(named) > SHOWN:
            named = named[:SHOWN] + "...]"
        return (
            f"{posixpath.basename(self.table)}: {self.found}; to learn them, set source.labels: none, source.metadata: "
            f"the path of this table from params.yaml, and runs with task: {self.task}, {self.key}: {named}"
        )


def survey_targets(members: Members, table: str) -> TargetSurvey | None:
    """Find numbers, or several labels a picture, in a table that names pictures; None if it has neither, or is broken.

    Integers may be classes, such as digits, or numbers of rows: they are not certain. Nor are lists in less than half
    of the cells.
    """
    try:
        header, numbered = read_rows(decode_text(members.read(table)), table)
        rows = [row for _, row in numbered if len(row) == len(header)]
        columns = find_columns(header, rows, locator(members, table), table)
    except UnclearColumnsError as error:
        return _of_flags(table, header, rows, error.others)
    except UserError:
        return None
    at = columns.label
    return None if at is None else _of_column(table, header[at], [cell for row in rows if (cell := row[at].strip())])


def _of_flags(
    table: str, header: Sequence[str], rows: Sequence[Sequence[str]], others: Sequence[int]
) -> TargetSurvey | None:
    """Columns of 0 and 1, one per label."""
    held = [[row[at].strip() for at in others] for row in rows]
    if len(others) < 2 or not all(FLAGS.issuperset(cells) for cells in held):
        return None
    several = sum(sum(cell in HELD for cell in cells) > 1 for cells in held)
    if not several:
        return None
    found = f"{several} of {len(rows)} rows have several of the labels that {len(others)} columns stand for"
    return TargetSurvey(
        table=table, task="multilabel", columns=tuple(header[at] for at in others), found=found, certain=True
    )


def unlike_classes(cells: Sequence[str], table: str) -> tuple[str, ...]:
    """Note where the labels in a table of texts may be no classes, in a line.

    Args:
        cells: Those of the column label that are not empty.
        table: Its name.
    """
    found = _of_column(table, "label", cells)
    if found is None:
        return ()
    note = (
        f"warning: {table}: {found.found}, but classes are learned, one a text; to learn numbers or lists, put each "
        "text into a .txt file of its own, and a table that names these files next to them"
    )
    return (note,)


def _of_column(table: str, name: str, cells: Sequence[str]) -> TargetSurvey | None:
    """A column of numbers, or of lists of labels."""
    amounts = [_number(cell) for cell in with_decimal_points(cells)]
    numbers = {number for number in amounts if math.isfinite(number)}
    if len(numbers) >= DISTINCT and all(map(math.isfinite, amounts)):
        found, certain = f"the column {name!r} holds {len(numbers)} different numbers", any(n % 1 for n in numbers)
        return TargetSurvey(table=table, task="regress", columns=(name,), found=found, certain=certain)
    commas = [len({*labels}) > 1 for labels in split_labels(cells)]
    lists = sum(comma or any(one in cell for one in LISTS) for cell, comma in zip(cells, commas, strict=True))
    if not lists:
        return None
    found, certain = f"{lists} of {len(cells)} cells of {name!r} list several labels", 2 * lists > len(cells)
    return TargetSurvey(table=table, task="multilabel", columns=(name,), found=found, certain=certain)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
