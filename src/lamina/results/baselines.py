"""Accepted results, in `baselines/RUN.csv`, and present ones, in the folder of the run or ensemble.

A baseline has one line for each test picture, sorted by id, so that git shows which predictions changed. Its columns
depend on the run's measure.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.errors import UserError
from lamina.results.evaluated import require_evaluated
from lamina.results.folders import results_folder
from lamina.results.measures import MEASURES, Answers, Change, Measure

RESTORE = "restore it, or renew it with --accept"
REPEAT = "make it again with `dvc repro`"


def accepted_runs(system: Path) -> set[str]:
    """Return the runs that have accepted results."""
    return {path.name.removesuffix(".csv") for path in (system / "baselines").glob("*.csv")}


def baseline_path(system: Path, name: str) -> Path:
    """Return the file of a run's accepted results."""
    return system / "baselines" / f"{name}.csv"


def read_baseline(system: Path, name: str, measure: Measure) -> Answers:
    """Read the accepted answers of a run.

    Raises:
        UserError: If the file is missing or broken, or holds another measure.
    """
    path = baseline_path(system, name)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except FileNotFoundError:
        raise UserError(f"no {path}; `lamina gate --accept` makes it") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid CSV ({error}); {RESTORE}") from None
    found = rows[0][1] if rows else []
    if found not in (_header(measure), _header(measure, truth=True)):
        raise UserError(_another_header(path, found, measure))
    return _answers(rows[1:], found, measure, path, RESTORE)


def baseline_text(answers: Answers, measure: Measure) -> str:
    """Return the text of `baselines/RUN.csv`; the same answers give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    truth = len(next(iter(answers.values()), ())) > len(measure.columns)
    writer.writerows([_header(measure, truth=truth), *([key, *answers[key]] for key in sorted(answers))])
    return text.getvalue()


def read_present(system: Path, name: str, measure: Measure) -> tuple[Answers, dict[str, str]]:
    """Read a run's answers for the test pictures, and the origin of each picture, by id, from `predictions.parquet`.

    Raises:
        UserError: If the file is missing or not valid, or of an earlier training.
    """
    folder = results_folder(system, name)
    require_evaluated(folder)
    path = folder / "predictions.parquet"
    try:
        truth = measure.truth in pq.read_schema(path).names
        names = [*_header(measure, truth=truth), "origin"]
        columns = pq.read_table(path, columns=names).to_pydict()
    except FileNotFoundError:
        raise UserError(f"no {path}; make it with `dvc repro`, or fetch it with `dvc pull`") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable ({str(error).splitlines()[0]}); {REPEAT}") from None
    rows = list(zip(*(columns[name] for name in names), strict=True))
    placed = [(f"{path}, row {number}", row) for number, row in enumerate(rows)]
    answers = _answers(placed, names, measure, path, REPEAT)
    return answers, dict(zip(columns["id"], columns["origin"], strict=True))


def change(system: Path, name: str, measure: Measure) -> Change:
    """Compare a run's answers for the test pictures with the accepted ones.

    Raises:
        UserError: If files are missing or broken, or the pictures or labels differ.
    """
    before = read_baseline(system, name, measure)
    after, origins = read_present(system, name, measure)
    new, missing = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    if new or missing:
        raise UserError(f"other test examples: {new} new, {missing} missing; --accept renews the baseline")
    return measure.change(before, after, origins)


def difference(system: Path, name: str, answers: Answers, measure: Measure) -> str:
    """Return in one line what accepting these answers changes in the baseline of a run."""
    try:
        old = read_baseline(system, name, measure)
    except UserError:
        return f"{name}: accepted, {len(answers)} examples"
    if old == answers:
        return f"{name}: unchanged"
    kinds = Counter(
        "new" if key not in old else "missing" if key not in answers else "changed"
        for key in old.keys() | answers.keys()
        if old.get(key) != answers.get(key)
    )
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in ("changed", "new", "missing") if kinds[kind])
    values = " -> ".join(measure.shown(measure.value(some)) for some in (old, answers))
    return f"{name}: renewed, {measure.title} {values} ({counts} of {len(answers)} examples)"


def _header(measure: Measure, *, truth: bool = False) -> list[str]:
    return ["id", *measure.columns, *([measure.truth] if truth and measure.truth else [])]


def _another_header(path: Path, found: list[str], measure: Measure) -> str:
    for other in MEASURES.values():
        if found in (_header(other), _header(other, truth=True)):
            return (
                f"the run's measure changed: {path} holds {other.title}, but the run now has {measure.title}; "
                "--accept renews the baseline"
            )
    got = ",".join(found) or "an empty file"
    return f"{path}: expected the header {','.join(_header(measure))}, got {got}; {RESTORE}"


def _answers(
    rows: Sequence[tuple[str, Sequence[Any]]], names: list[str], measure: Measure, path: Path, remedy: str
) -> Answers:
    answers: Answers = {}
    for place, row in rows:
        cells = _cells(row, names, measure)
        if cells is None:
            raise UserError(f"{place}: expected {', '.join(names)}, got {list(row)}; {remedy}")
        if row[0] in answers:
            raise UserError(f"{place}: the picture {row[0]} is there twice, expected once; {remedy}")
        answers[row[0]] = cells
    if not answers:
        raise UserError(f"{path}: holds no picture; {remedy}")
    return answers


def _cells(row: Sequence[Any], names: Sequence[str], measure: Measure) -> tuple[str, ...] | None:
    """Return the cells between the picture's id and its origin, if there is one; None if they are not valid."""
    end = names.index("origin") if "origin" in names else len(names)
    if len(row) != len(names) or not all(isinstance(name, str) and name for name in (row[0], *row[end:])):
        return None
    try:
        return measure.cells(row[1:end])
    except ValueError:
        return None
