"""`lamina gate`: are the results still as good as the accepted ones?

`baselines/RUN.csv` holds the accepted predictions for the test pictures (`id,label,predicted`, sorted by id):
one line a picture, so that git shows which answers changed. Ends with 0 where every run is kept, 1 where
one regressed, 2 where one cannot be compared. `baselines/champion.json` names the run that is best by its validation
pictures; MLflow's registry follows it. `baselines/data.json` is the profile of the accepted data, which the
stage `validate` compares with; `{}` where nothing was accepted yet.
"""

import argparse
import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.config import read_params
from lamina.data.drift import DataProfile, read_profile
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.learn.champion import Champion, champion_path, choose, read_champion
from lamina.learn.runs import run_names
from lamina.maths.comparison import holm, paired_test
from lamina.maths.scores import accuracy_interval

KEPT, REGRESSED, CANNOT_COMPARE = 0, 1, 2

HEADER = ["id", "label", "predicted"]
TITLES = ("run", "before", "after", "better", "worse", "p", "verdict")
LEGEND = (
    "Accuracy on the test pictures with its 95 % interval over origins; pictures that became right (better) and "
    "wrong (worse); p of the exact paired test over origins, after Holm's correction for the number of runs."
)

# label and predicted class of each picture, by id
Answers = dict[str, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a run's answers for the same test pictures changed."""

    before: str  # accuracy and interval, as shown
    after: str
    better: int
    worse: int
    n: int
    p: float

    @property
    def drop(self) -> float:
        """Share of the test pictures by which the accuracy fell; negative where it rose."""
        return (self.worse - self.better) / self.n


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A run's line in the table, and the exit code that it asks for."""

    code: int
    cells: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `lamina gate` takes beside --system."""
    parser.add_argument("--alpha", type=float, default=0.05, help="level of the paired test (default: %(default)s)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.10,
        help="fall in accuracy that counts as a regression without a test, for small sets (default: %(default)s)",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too, as Markdown")
    parser.add_argument(
        "--accept",
        nargs="?",
        const="all",
        choices=["all", "data"],
        help="take the present results and data as the accepted ones; `--accept data`: the data alone, no runs needed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare with the baselines, or renew them; return the exit code. Raises UserError where nothing can be done."""
    if arguments.accept:
        print("\n".join(accept(arguments.system, data_only=arguments.accept == "data")))
        if arguments.accept == "all" and (champion := read_champion(arguments.system)):
            # MLflow takes seconds to import; comparing does without it
            from lamina.tracking.registry import register_or_warn

            register_or_warn(arguments.system, champion)
        return KEPT
    for name in ("alpha", "tolerance"):
        if not 0 <= getattr(arguments, name) <= 1:
            raise UserError(f"--{name}: expected a number from 0 to 1, got {getattr(arguments, name)}")
    verdicts = compare(arguments.system, alpha=arguments.alpha, tolerance=arguments.tolerance)
    print(_table(verdicts))
    print(f"\n{LEGEND}")
    markdown = _markdown(verdicts, arguments.system.resolve().name)
    if arguments.markdown:
        with staged(arguments.markdown) as part:
            part.write_text(markdown, encoding="utf-8")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown + "\n")
    codes = {verdict.code for verdict in verdicts}
    return REGRESSED if REGRESSED in codes else max(codes)


def compare(system: Path, *, alpha: float, tolerance: float) -> list[Verdict]:
    """Compare every run's test predictions with the accepted ones; one verdict a run, sorted by name.

    A run regressed if it is worse and the exact paired test over the same pictures, origin by origin, says so at
    `alpha`, after Holm's correction over the runs; or if its accuracy fell by more than `tolerance`.
    """
    runs = run_names(read_params(system))
    names = sorted({*runs, *_accepted_runs(system)})
    if not names:
        raise UserError(f"{system / 'params.yaml'}: nothing to compare: no runs under transfer.runs or scratch.runs")
    changes: dict[str, Change] = {}
    problems: dict[str, str] = {}
    for name in names:
        try:
            changes[name] = _change(system, name, known=name in runs)
        except UserError as error:
            problems[name] = str(error)
    adjusted = dict(zip(changes, holm([change.p for change in changes.values()]), strict=True))
    return [
        _judge(name, changes[name], adjusted[name], alpha, tolerance)
        if name in changes
        else _refuse(name, problems[name])
        for name in names
    ]


def accept(system: Path, *, data_only: bool = False) -> list[str]:
    """Renew the baselines of all runs, the champion and the data, or none, and remove those of vanished runs.

    data_only: leave the runs alone, so that data can be accepted that `validate` stopped at since they drifted.
    Returns what changed, a line each. Raises UserError, leaving the baselines as they were, where a run has no
    sound predictions or there is no profile of the data.
    """
    runs, accepted = sorted(run_names(read_params(system))), _accepted_runs(system)
    if data_only:
        runs, accepted = [], set()
    elif not {*runs, *accepted}:
        raise UserError(
            f"{system / 'params.yaml'}: nothing to accept: no runs under transfer.runs or scratch.runs; "
            "`--accept data` takes the data alone"
        )
    try:
        present = {name: _read_predictions(system, name)[0] for name in runs}
        champion = choose(system, runs) if runs else None
        profile = _read_data(system)
    except UserError as error:
        raise UserError(f"nothing was accepted: {error}") from None
    said = [_difference(system, name, answers) for name, answers in present.items()]
    if champion:
        said.append(_champion_difference(system, champion))
    said.append(_data_difference(system, profile))
    with ExitStack() as together:
        for name, answers in present.items():
            part = together.enter_context(staged(_baseline(system, name)))
            part.write_text(_csv(answers), encoding="utf-8", newline="")
        if champion:
            write_json(together.enter_context(staged(champion_path(system))), champion.model_dump())
        write_json(together.enter_context(staged(_data_baseline(system))), profile.model_dump(mode="json"))
    vanished = sorted(accepted - set(runs))
    for name in vanished:
        _baseline(system, name).unlink()
    return said + [f"{name}: removed, it is no longer in params.yaml" for name in vanished]


def _data_baseline(system: Path) -> Path:
    return system / "baselines" / "data.json"


def _read_data(system: Path) -> DataProfile:
    """The profile of the present data, which `validate` writes where they are sound, drifted or not."""
    path = system / "data" / "validation" / "profile.json"
    remedy = "make it with `dvc repro`, or fetch it with `dvc pull`"
    profile = read_profile(path, remedy=remedy)
    if profile is None:
        raise UserError(f"{path}: holds no profile; {remedy}")
    return profile


def _data_difference(system: Path, profile: DataProfile) -> str:
    try:
        old = read_profile(_data_baseline(system), remedy="")
    except UserError:
        old = None
    if old == profile:
        return "data: unchanged"
    pictures = f"{profile.kept.pictures} of {profile.delivered.pictures} pictures kept"
    return f"data: {'renewed' if old else 'accepted'}, {pictures}; `dvc repro` holds data against these from now on"


def _champion_difference(system: Path, champion: Champion) -> str:
    try:
        old = read_champion(system)
    except UserError:
        old = None
    if old == champion:
        return f"champion: unchanged, {champion.run}"
    instead = f" instead of {old.run}" if old and old.run != champion.run else ""
    return f"champion: {champion.run}{instead}, best by validation accuracy ({champion.validation_accuracy:.3f})"


def _accepted_runs(system: Path) -> set[str]:
    return {path.name.removesuffix(".csv") for path in (system / "baselines").glob("*.csv")}


def _baseline(system: Path, name: str) -> Path:
    return system / "baselines" / f"{name}.csv"


def _read_baseline(system: Path, name: str) -> Answers:
    path = _baseline(system, name)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except FileNotFoundError:
        raise UserError(f"no {path}; `lamina gate --accept` makes it") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid CSV ({error}); restore it, or renew it with --accept") from None
    if not rows or rows[0][1] != HEADER:
        found = ",".join(rows[0][1]) if rows else "an empty file"
        raise UserError(
            f"{path}: expected the header {','.join(HEADER)}, got {found}; restore it, or renew it with --accept"
        )
    return _answers(rows[1:], HEADER, path, "restore it, or renew it with --accept")


def _read_predictions(system: Path, name: str) -> tuple[Answers, dict[str, str]]:
    """Read a run's test predictions; return its answers and the origin of each picture, by id."""
    path = system / "models" / name / "predictions.parquet"
    names = [*HEADER, "origin"]
    try:
        columns = pq.read_table(path, columns=names).to_pydict()
    except FileNotFoundError:
        raise UserError(f"no {path}; make it with `dvc repro`, or fetch it with `dvc pull`") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable ({str(error).splitlines()[0]}); make it anew with `dvc repro`") from None
    rows = list(zip(*(columns[name] for name in names), strict=True))
    placed = [(f"{path}, row {number}", row) for number, row in enumerate(rows)]
    answers = _answers(placed, names, path, "make it anew with `dvc repro`")
    return answers, dict(zip(columns["id"], columns["origin"], strict=True))


def _answers(rows: Sequence[tuple[str, Sequence[Any]]], names: list[str], path: Path, remedy: str) -> Answers:
    answers: Answers = {}
    for place, row in rows:
        if len(row) != len(names) or not all(isinstance(value, str) and value for value in row):
            raise UserError(f"{place}: expected {', '.join(names)}, got {list(row)}; {remedy}")
        if row[0] in answers:
            raise UserError(f"{place}: the picture {row[0]} stands there twice; {remedy}")
        answers[row[0]] = (row[1], row[2])
    if not answers:
        raise UserError(f"{path}: holds no picture; {remedy}")
    return answers


def _change(system: Path, name: str, *, known: bool) -> Change:
    if not known:
        raise UserError("no longer in params.yaml; --accept removes its baseline")
    before = _read_baseline(system, name)
    after, origins = _read_predictions(system, name)
    new, missing = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    if new or missing:
        raise UserError(f"other test pictures: {new} new, {missing} missing; --accept renews the baseline")
    relabeled = [key for key in sorted(after) if before[key][0] != after[key][0]]
    if relabeled:
        raise UserError(
            f"{len(relabeled)} pictures have another label ({relabeled[0]}, ...); --accept renews the baseline"
        )
    keys = sorted(after)
    right_before = np.array([before[key][0] == before[key][1] for key in keys])
    right_after = np.array([after[key][0] == after[key][1] for key in keys])
    origin = [origins[key] for key in keys]
    return Change(
        before=_accuracy(right_before, origin),
        after=_accuracy(right_after, origin),
        better=int(np.sum(right_after & ~right_before)),
        worse=int(np.sum(right_before & ~right_after)),
        n=len(keys),
        p=paired_test(right_before, right_after, origin),
    )


def _accuracy(right: Any, origin: list[str]) -> str:
    low, high = accuracy_interval(right, origin)
    return f"{right.mean():.3f} [{low:.3f}, {high:.3f}]"


def _judge(name: str, change: Change, p: float, alpha: float, tolerance: float) -> Verdict:
    code, verdict = KEPT, "kept"
    # Shares of small numbers are not exact: a fall of just the tolerance is not more than it.
    if change.drop - tolerance > 1e-9:
        code, verdict = REGRESSED, f"regressed: fell by {change.drop:.3f}, more than {tolerance:g}"
    elif p <= alpha and change.drop > 0:
        code, verdict = REGRESSED, f"regressed: p is not above {alpha:g}"
    elif p <= alpha and change.drop < 0:
        verdict = "improved"
    figures = (change.before, change.after, str(change.better), str(change.worse), f"{p:.3g}")
    return Verdict(code=code, cells=(name, *figures, verdict))


def _refuse(name: str, problem: str) -> Verdict:
    return Verdict(code=CANNOT_COMPARE, cells=(name, "-", "-", "-", "-", "-", f"cannot compare: {problem}"))


def _table(verdicts: list[Verdict]) -> str:
    rows = [TITLES, *(verdict.cells for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _markdown(verdicts: list[Verdict], system: str) -> str:
    rows = [TITLES, ("---",) * len(TITLES), *(verdict.cells for verdict in verdicts)]
    lines = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return "\n".join([f"## Gate: {system}", "", *lines, "", LEGEND, ""])


def _csv(answers: Answers) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([HEADER, *([key, *answers[key]] for key in sorted(answers))])
    return text.getvalue()


def _difference(system: Path, name: str, answers: Answers) -> str:
    try:
        old = _read_baseline(system, name)
    except UserError:
        old = {}
    if not old:
        return f"{name}: accepted, {len(answers)} pictures"
    if old == answers:
        return f"{name}: unchanged"
    kinds = Counter(
        "new" if key not in old else "missing" if key not in answers else "changed"
        for key in old.keys() | answers.keys()
        if old.get(key) != answers.get(key)
    )
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in ("changed", "new", "missing") if kinds[kind])
    return f"{name}: renewed, accuracy {_rate(old):.3f} -> {_rate(answers):.3f} ({counts} of {len(answers)} pictures)"


def _rate(answers: Answers) -> float:
    return sum(label == predicted for label, predicted in answers.values()) / len(answers)
