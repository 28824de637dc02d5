"""The ensembles of a system, as `params.yaml` names them: averages over the predictions of runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamina.config import Config, named, shown, validated
from lamina.errors import UserError
from lamina.tasks.registry import TASKS
from lamina.tasks.runs import meant, read_run, run_tasks
from lamina.tasks.task import Task

INPUT = "pixels"  # of the saved model, whatever its runs have learned from


class EnsembleConfig(Config):
    """An entry of the section `ensembles`. runs: the names of those that are averaged."""

    runs: list[str]


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """An ensemble: its name, the task of its runs, and their names."""

    name: str
    task: Task
    runs: tuple[str, ...]


def read_ensembles(params: Mapping[str, Any]) -> dict[str, Ensemble]:
    """Read the section `ensembles`, in order; empty where it is missing.

    Args:
        params: content of `params.yaml`.

    Raises:
        UserError: if an ensemble has the name of a run or fewer than two runs, or one of its runs is not there, is
            there twice, is an ensemble, learns from texts, or has a task whose runs cannot be averaged.
    """
    tasks = run_tasks(params)
    return {name: _ensemble(params, tasks, name, given) for name, given in named(params, "ensembles").items()}


def result_tasks(params: Mapping[str, Any]) -> dict[str, Task]:
    """Return the task of every run of `params.yaml`, then of every ensemble.

    Raises:
        UserError: if a run has no known task, or an ensemble is wrong.
    """
    return run_tasks(params) | {name: ensemble.task for name, ensemble in read_ensembles(params).items()}


def task_and_input(params: Mapping[str, Any], name: str) -> tuple[Task, str]:
    """Return the task of a run or an ensemble, and what its saved model takes: `pixels` or `words/NAME`, say.

    Raises:
        UserError: if there is neither, or the run or the ensemble is wrong.
    """
    if name in (ensembles := read_ensembles(params)):
        return ensembles[name].task, INPUT
    known = [*named(params, "runs"), *ensembles]
    if name not in known:
        raise UserError(f"params.yaml: there is no run {name!r}{meant(name, known)}")
    run = read_run(params, name)
    return run.task, run.settings.input


def _ensemble(params: Mapping[str, Any], tasks: Mapping[str, Task], name: str, given: Any) -> Ensemble:
    place = f"params.yaml: ensembles.{name}"
    if name in tasks:
        raise UserError(f"{place}: a run has the same name; rename one of them")
    if not isinstance(given, Mapping):
        raise UserError(f"{place}: expected a mapping with the key runs, a list of names, got {shown(given)}")
    runs = validated(given, f"ensembles.{name}", EnsembleConfig).runs
    if len(runs) < 2:
        raise UserError(f"{place}.runs: expected at least two runs, got {runs}; add one, or remove the ensemble")
    for run in runs:
        _check_member(params, tasks, f"{place}.runs", run)
    if twice := [run for run in runs if runs.count(run) > 1]:
        raise UserError(f"{place}.runs: {twice[0]} is there twice, expected every run once; remove one of them")
    return Ensemble(name=name, task=tasks[runs[0]], runs=tuple(runs))


def _check_member(params: Mapping[str, Any], tasks: Mapping[str, Task], place: str, run: str) -> None:
    if run in named(params, "ensembles"):
        raise UserError(f"{place}: {run} is an ensemble, expected runs; name the runs that it averages")
    if run not in tasks:
        raise UserError(f"{place}: there is no run {run!r}{meant(run, list(tasks))}")
    if not tasks[run].averaged:
        averaged = ", ".join(task.name for task in TASKS.values() if task.averaged)
        raise UserError(f"{place}: {run} has the task {tasks[run].name}, expected runs of {averaged}; remove it")
    if str(named(params, "runs")[run].get("input")).startswith("words/"):
        raise UserError(f"{place}: {run} learns from texts; texts have no ensembles yet, remove the ensemble")
