"""The negative control of tasks that have their own: they learn targets instead of classes."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

from lamina.source_code import module_path
from lamina.tasks.task import Task

if TYPE_CHECKING:
    from lamina.results.assessment import TargetControl
    from lamina.results.repeats import Retrainer


def control_module(task: Task) -> str | None:
    """Return the module of a task's own control; None where it has none."""
    name = f"{task.package}.control"
    return name if module_path(name) else None


def find_control(task: Task) -> "Callable[[Retrainer], TargetControl] | None":
    """Return what trains a run of a task with shuffled targets; None where it has no control of its own."""
    module = control_module(task)
    return cast("Callable[[Retrainer], TargetControl]", import_module(module).control) if module else None
