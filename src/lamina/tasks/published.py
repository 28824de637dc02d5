"""Checks `published.yaml` against the runs of a system and the measures of their tasks."""

from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lamina.config import load_yaml, shown
from lamina.errors import UserError
from lamina.results.measures import MEASURES
from lamina.results.published import NAME, Published, PublishedRun, Quantity
from lamina.source_code import module_path
from lamina.tasks.ensembles import result_tasks
from lamina.tasks.registry import TASKS
from lamina.tasks.runs import meant
from lamina.tasks.task import Task

if TYPE_CHECKING:  # slow to import, and checking a file reads no table
    import pandas as pd

    from lamina.results.metrics import Scores

# a value and its 95 % interval over origins, which may be missing
Value: TypeAlias = tuple[float, tuple[float, float] | None]


def published_module(task: Task) -> str | None:
    """Return the module of a task that says what may be published of its runs; None where it has its measure alone."""
    name = f"{task.package}.published"
    return name if module_path(name) else None


def quantities(task: Task) -> Mapping[str, Quantity]:
    """Return what may be published of a task's runs, by the name of the measure."""
    if module := published_module(task):
        return cast("Mapping[str, Quantity]", import_module(module).QUANTITIES)
    share = MEASURES[task.measure].share
    return {task.measure: Quantity(high=1.0, share=True) if share else Quantity()}


def measured(task: Task, scores: "Scores", rows: "pd.DataFrame", measure: str, label: str | None) -> Value | None:
    """Return the value of a measure; None where it was not measured.

    Args:
        task: of the run.
        scores: of a fold, or of a cross-validation.
        rows: that the scores are of, with the columns of `predictions.parquet` or `crossvalidation.parquet`.
        measure: one of `quantities(task)`.
        label: the class, if the measure is by class.
    """
    if module := published_module(task):
        return cast("Value | None", import_module(module).measured(scores, rows, measure, label))
    return scores.value, scores.interval


def read_published(system: Path, params: Mapping[str, Any]) -> Published | None:
    """Read and check `published.yaml` in a system's folder; None if there is none.

    Classes are checked only if `source.classes` names them.

    Args:
        system: the folder.
        params: content of `params.yaml`.

    Raises:
        UserError: the file is not valid, names no run of `params.yaml`, or has a measure that the run's task does not
            have, a value out of range, or an unknown class.
    """
    if not (system / NAME).exists():
        return None
    published, tasks = _load(system / NAME), result_tasks(params)
    if not tasks.keys() & published.runs.keys():
        runs = list(published.runs)
        raise UserError(f"{NAME}: runs: params.yaml has none of {', '.join(runs)}{meant(runs[0], list(tasks))}")
    for name, run in published.runs.items():
        _check_run(name, run, tasks.get(name))
    source = params.get("source")
    classes = source.get("classes") if isinstance(source, dict) else None
    if isinstance(classes, list):
        check_classes(published, list(map(str, classes)))
    return published


def check_classes(published: Published, classes: Collection[str]) -> None:
    """Raise UserError if a class is published that is not among those of the system."""
    for name, run in published.runs.items():
        for measure, label in run.figures:
            if label is not None and label not in classes:
                raise UserError(f"{NAME}: runs.{name}.{measure}: no class {label!r}{meant(label, list(classes))}")


def known_quantities(task: Task | None) -> dict[str, Quantity]:
    """Return what may be published of a task's runs; of a run that is not here (None), what may be of any task's."""
    asked = [task] if task else list(TASKS.values())
    return {measure: quantity for one in asked for measure, quantity in quantities(one).items()}


def _check_run(name: str, run: PublishedRun, task: Task | None) -> None:
    known, kind = known_quantities(task), f"task {task.name}" if task else "any task"
    if not run.figures and run.seconds is None:
        raise UserError(f"{NAME}: runs.{name}: nothing is reported; add seconds, or a measure: {', '.join(known)}")
    for (measure, label), value in run.figures.items():
        place = ".".join(filter(None, ("runs", name, measure, label)))
        if measure not in known:
            keys = [*known, *PublishedRun.model_fields]
            raise UserError(f"{NAME}: runs.{name}: {measure!r} is no measure of {kind}{meant(measure, keys)}")
        quantity = known[measure]
        if quantity.by_class != (label is not None):
            expected = "a mapping of numbers by class" if quantity.by_class else "one number"
            raise UserError(
                f"{NAME}: runs.{name}.{measure}: expected {expected}, got {shown((run.model_extra or {})[measure])}"
            )
        if not quantity.holds(value):
            raise UserError(f"{NAME}: {place}: expected {quantity.expected}, got {shown(value)}")


def _load(path: Path) -> Published:
    try:
        return Published.model_validate(load_yaml(path))
    except ValidationError as error:
        # a misspelled key is unknown and missing at once
        problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise UserError(f"{NAME}: {_in_words(problem)}") from None
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{NAME}: not valid YAML: {line}{error.problem}") from None
    except (YAMLError, ValueError) as error:
        raise UserError(f"{NAME}: not valid YAML: {' '.join(str(error).split())}") from None


def _in_words(problem: ErrorDetails) -> str:
    place, kind = ".".join(map(str, problem["loc"])), problem["type"]
    if kind == "missing":
        return f"{place} is missing; add it"
    if kind == "extra_forbidden":
        return f"unknown key {place!r}{meant(place, list(Published.model_fields))}"
    expected = "expected a mapping" if kind in ("model_type", "dict_type") else problem["msg"].lower()
    return f"{place}: {expected}, got {shown(problem['input'])}".removeprefix(": ")
