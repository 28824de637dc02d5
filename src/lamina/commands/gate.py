"""`lamina gate`: are the results still as good as the accepted ones?

`baselines/RUN.csv` holds the accepted results of a run's or an ensemble's test pictures (`lamina.results.baselines`).
`lamina.results.judgement` says when a run regressed. The exit code is 0 if every run is kept, 1 if one regressed, 2 if
one cannot be compared. `baselines/runs.json` says what each accepted run was made with, and how it scored with other
seeds (`lamina.results.run_facts`). `baselines/champion.json` names the run that is best on its validation pictures;
MLflow's registry follows it. `baselines/data.json` is the profile of the accepted data for the stage `validate`, or
`{}` if none was accepted yet.
"""

import argparse
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lamina.commands.markdown import escaped, table
from lamina.config import named, read_params
from lamina.data.drift import DataProfile, read_profile
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.maths.comparison import holm
from lamina.results.baselines import accepted_runs, baseline_path, baseline_text, change, difference, read_present
from lamina.results.champion import Champion, champion_path, choose, read_champion
from lamina.results.judgement import DEFAULT_RULE, Rule, judge
from lamina.results.measure_names import MeasureName
from lamina.results.measures import MEASURES, Change
from lamina.results.record import system_name
from lamina.results.run_facts import (
    AllRunFacts,
    RunFacts,
    accepted_facts,
    facts_path,
    made_differently,
    present_facts,
)
from lamina.tasks.ensembles import result_tasks
from lamina.tasks.registry import TASKS

KEPT, REGRESSED, CANNOT_COMPARE = 0, 1, 2

TITLES = ("run", "before", "after", "difference", "better", "worse", "p", "verdict")
NO_RUNS = f"no run of a task that the gate compares ({', '.join(task.name for task in TASKS.values() if task.guarded)})"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A run's line in the table, its exit code, and its measure (None if the run is gone).

    made_differently: What it was made with that the accepted results were not; empty if that is the same or not known.
    """

    code: int
    cells: tuple[str, ...]
    measure: MeasureName | None
    made_differently: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `lamina gate`, except --system."""
    parser.add_argument(
        "--alpha", type=float, default=DEFAULT_RULE.alpha, help="level of the paired test (default: %(default)s)"
    )
    for name, measure in MEASURES.items():
        error = f"1 - {measure.title}" if measure.share else measure.title
        parser.add_argument(
            f"--margin-{name}",
            type=float,
            default=measure.margin,
            metavar="SHARE",
            help=f"of the error, {error}: by how much it may grow before it matters (default: %(default)s)",
        )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=DEFAULT_RULE.tolerance,
        help="fall in accuracy, or share by which the MSE rose, that counts as a regression without a test, where "
        "origins are too few for one (default: %(default)s)",
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
    """Compare with the baselines, or renew them; return the exit code."""
    if arguments.markdown and arguments.markdown.is_dir():
        raise UserError(f"{arguments.markdown}: is a folder; --markdown expects a file")
    if arguments.accept:
        print("\n".join(accept(arguments.system, data_only=arguments.accept == "data")))
        if arguments.accept == "all" and (champion := read_champion(arguments.system)):
            # MLflow takes seconds to import; comparing does not need it
            from lamina.tracking.registry import register_or_warn

            register_or_warn(arguments.system, champion)
        return KEPT
    margins = {name: f"margin_{name}" for name in MEASURES}
    for name in ("alpha", *margins.values(), "tolerance"):
        if not 0 <= getattr(arguments, name) <= 1:
            option = name.replace("_", "-")
            raise UserError(f"--{option}: expected a number from 0 to 1, got {getattr(arguments, name)}")
    rule = Rule(
        alpha=arguments.alpha,
        margins={name: getattr(arguments, option) for name, option in margins.items()},
        tolerance=arguments.tolerance,
    )
    verdicts = compare(arguments.system, rule)
    print(_table(verdicts))
    print(f"\n{_legend(verdicts)}")
    markdown = _markdown(verdicts, system_name(arguments.system))
    if arguments.markdown:
        with staged(arguments.markdown) as part:
            part.write_text(markdown, encoding="utf-8", newline="\n")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown + "\n")
    codes = {verdict.code for verdict in verdicts}
    return REGRESSED if REGRESSED in codes else max(codes)


def compare(system: Path, rule: Rule = DEFAULT_RULE) -> list[Verdict]:
    """Compare every run's test predictions with the accepted ones.

    Args:
        system: Folder of the system.
        rule: What counts as a regression. p-values are corrected over the runs by Holm's method.

    Returns:
        One verdict per run, sorted by name.

    Raises:
        UserError: If there is nothing to compare.
    """
    measures = _measures(system)
    names = sorted({*measures, *accepted_runs(system)})
    if not names:
        raise UserError(f"{system / 'params.yaml'}: nothing to compare: {NO_RUNS}")
    accepted = accepted_facts(system)
    changes: dict[str, tuple[Change, RunFacts]] = {}
    problems: dict[str, str] = {}
    for name in names:
        try:
            if name not in measures:
                raise UserError("no longer in params.yaml; --accept removes its baseline")
            changes[name] = change(system, name, MEASURES[measures[name]]), present_facts(system, name)
        except UserError as error:
            problems[name] = str(error)
    adjusted = dict(zip(changes, holm([change.p for change, _ in changes.values()]), strict=True))

    def verdict(name: str) -> Verdict:
        (found, present), before, measure = changes[name], accepted.get(name, RunFacts()), MEASURES[measures[name]]
        repeats = {"accepted_repeats": before.repeats, "present_repeats": present.repeats}
        regressed, said = judge(found, adjusted[name], measure, rule=rule, runs=len(changes), **repeats)
        counts = (str(found.better), str(found.worse), f"{adjusted[name]:.3g}")
        return Verdict(
            code=REGRESSED if regressed else KEPT,
            cells=(name, *found.shown, measure.difference(found), *counts, said),
            measure=measure.name,
            made_differently=made_differently(before, present),
        )

    return [verdict(name) if name in changes else _refuse(name, problems[name], measures.get(name)) for name in names]


def accept(system: Path, *, data_only: bool = False) -> list[str]:
    """Renew the baselines of all runs, the champion and the data, all or none; remove those of runs that are gone.

    Args:
        system: Folder of the system.
        data_only: Leave the runs alone, so that drifted data can be accepted, at which `validate` stopped.

    Returns:
        One line per change.

    Raises:
        UserError: If a run has no valid predictions, or there is no profile of the data. Nothing is changed then.
    """
    runs, accepted = dict(sorted(_measures(system).items())), accepted_runs(system)
    if data_only:
        runs, accepted = {}, set()
    elif not {*runs, *accepted}:
        raise UserError(f"{system / 'params.yaml'}: nothing to accept: {NO_RUNS}; `--accept data` takes the data alone")
    try:
        present = {name: read_present(system, name, MEASURES[measure])[0] for name, measure in runs.items()}
        facts = AllRunFacts(runs={name: present_facts(system, name) for name in runs})
        champion = _champion(system, runs) if runs else None
        profile = _read_data(system)
    except UserError as error:
        raise UserError(f"nothing was accepted: {error}") from None
    changes = [difference(system, name, answers, MEASURES[runs[name]]) for name, answers in present.items()]
    if champion:
        changes.append(_champion_difference(system, champion))
    changes.append(_data_difference(system, profile))
    with ExitStack() as together:
        for name, answers in present.items():
            part = together.enter_context(staged(baseline_path(system, name)))
            part.write_text(baseline_text(answers, MEASURES[runs[name]]), encoding="utf-8", newline="")
        if not data_only:
            facts.write(together.enter_context(staged(facts_path(system))))
        if champion:
            write_json(together.enter_context(staged(champion_path(system))), champion.model_dump())
        write_json(together.enter_context(staged(_data_baseline(system))), profile.model_dump(mode="json"))
    gone = sorted(accepted - set(runs))
    for name in gone:
        baseline_path(system, name).unlink()
    return changes + [f"{name}: removed, it is no longer in params.yaml" for name in gone]


def _measures(system: Path) -> dict[str, MeasureName]:
    """Return the measure of each run and ensemble of `params.yaml` that the gate compares."""
    return {name: task.measure for name, task in result_tasks(read_params(system)).items() if task.guarded}


def _champion(system: Path, runs: Collection[str]) -> Champion:
    """Return the champion among the runs of the first task that has runs, and of its first target if it has several."""
    params = read_params(system)
    tasks = result_tasks(params)
    leading = next(task for task in TASKS.values() if any(tasks[name] == task for name in runs))
    targets = {
        name: [(named(params, "runs").get(name) or {}).get(key) for key in ("target", "targets")]
        for name, task in tasks.items()
        if name in runs and task == leading
    }
    first = next(iter(targets.values()))
    return choose(system, [name for name, of_run in targets.items() if of_run == first], leading.measure)


def _data_baseline(system: Path) -> Path:
    return system / "baselines" / "data.json"


def _read_data(system: Path) -> DataProfile:
    """Read the profile of the present data, which `validate` writes for valid data, drifted or not."""
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
    kept = f"{profile.kept.pictures} of {profile.delivered.pictures} kept"
    return f"data: {'renewed' if old else 'accepted'}, {kept}; `dvc repro` compares data with these from now on"


def _champion_difference(system: Path, champion: Champion) -> str:
    try:
        old = read_champion(system)
    except UserError:
        old = None
    if old == champion:
        return f"champion: unchanged, {champion.run}"
    instead = f" instead of {old.run}" if old and old.run != champion.run else ""
    measure = MEASURES[champion.measure]
    shown = measure.shown(champion.validation)
    return f"champion: {champion.run}{instead}, best by validation {measure.title} ({shown})"


def _refuse(name: str, problem: str, measure: MeasureName | None) -> Verdict:
    cells = (name, *["-"] * (len(TITLES) - 2), f"cannot compare: {problem}")
    return Verdict(code=CANNOT_COMPARE, cells=cells, measure=measure)


def _legend(verdicts: Sequence[Verdict]) -> str:
    """Explain the table: what was made differently, and a paragraph for each measure in it."""
    judged_by = {verdict.measure for verdict in verdicts}
    return "\n\n".join(_made(verdicts) + [one.legend for name, one in MEASURES.items() if name in judged_by])


def _made(verdicts: Sequence[Verdict]) -> list[str]:
    """Say what the runs were made with that the accepted results were not, in a line for all runs with the same."""
    runs: dict[str, list[str]] = {}
    for verdict in verdicts:
        runs.setdefault(verdict.made_differently, []).append(verdict.cells[0])
    return [f"Made differently ({', '.join(names)}): {said}." for said, names in runs.items() if said]


def _table(verdicts: list[Verdict]) -> str:
    rows = [TITLES, *(verdict.cells for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _markdown(verdicts: list[Verdict], system: str) -> str:
    return "\n".join(
        [
            f"## Gate: {escaped(system)}",
            "",
            table(TITLES, [verdict.cells for verdict in verdicts]),
            "",
            _legend(verdicts),
            "",
        ]
    )
