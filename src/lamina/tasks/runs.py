"""The runs of a system, as `params.yaml` names them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamina.config import named, nearest, shown, validated
from lamina.errors import UserError
from lamina.tasks.registry import TASKS
from lamina.tasks.task import Task
from lamina.training.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run: its name, its task and its settings."""

    name: str
    task: Task
    settings: RunSettings


def run_tasks(params: Mapping[str, Any]) -> dict[str, Task]:
    """Return the task of every run of `params.yaml`, in order.

    Raises:
        UserError: if a run has no known task.
    """
    return {name: _task(name, given) for name, given in named(params, "runs").items()}


def read_run(params: Mapping[str, Any], name: str) -> Run:
    """Read one run of `params.yaml`.

    Raises:
        UserError: if there is no such run, or one of its settings is wrong; with the nearest known name.
    """
    runs = named(params, "runs")
    if name not in runs:
        raise UserError(f"params.yaml: there is no run {name!r}{meant(name, list(runs))}")
    task = _task(name, runs[name])
    settings = validated(runs[name], f"runs.{name}", task.settings_class(runs[name]))
    return Run(name=name, task=task, settings=settings)


def _task(name: str, given: Any) -> Task:
    place = f"params.yaml: runs.{name}"
    if not isinstance(given, Mapping):
        raise UserError(f"{place}: expected a mapping with the keys task, input, ..., got {shown(given)}")
    if "task" not in given:
        raise UserError(f"{place}.task is missing; add one of {', '.join(TASKS)}")
    if given["task"] not in TASKS:
        raise UserError(f"{place}.task: unknown task {given['task']!r}{meant(str(given['task']), list(TASKS))}")
    return TASKS[given["task"]]


def meant(name: str, known: list[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, and all that are known."""
    near = nearest(name, known)
    question = f"; did you mean {near!r}?" if near else ""
    return f"{question}; known: {', '.join(known) or 'none'}"
