"""The class of `metrics.json` as evaluation writes it."""

from importlib import import_module
from typing import cast

from lamina.results.metrics import Metrics
from lamina.source_code import module_path
from lamina.tasks.task import Task


def evaluated_metrics(task: Task) -> type[Metrics]:
    """Return the `Metrics` of the task's `scores.py`, which training does not import; or else of its `results.py`."""
    name = f"{task.package}.scores"
    return cast("type[Metrics]", import_module(name).Metrics) if module_path(name) else task.metrics_class()
