"""The report's chapter that shows what a publication reported next to our results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from lamina.charts.chapter import render
from lamina.results.folders import made_by
from lamina.results.metrics import Scores
from lamina.results.published import Ours, Published, PublishedRun, Quantity
from lamina.results.record import Timing
from lamina.results.result_file import read_result, read_table
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.published import check_classes, known_quantities, measured
from lamina.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Scores of a run, and the rows that they are of."""

    scores: Scores
    rows: pd.DataFrame
    crossvalidated: bool


@dataclass(frozen=True, kw_only=True)
class Line:
    """A published figure next to ours.

    Attributes:
        measure: name; label: the class; None for all classes together.
        quantity: what the measure is.
        published: value, in the unit of ours.
        ours: None if the run is not in `params.yaml`, or the measure was not measured.
    """

    measure: str
    label: str | None
    quantity: Quantity
    published: float
    ours: Ours | None

    @property
    def difference(self) -> float | None:
        """Ours minus the published figure."""
        return self.ours.value - self.published if self.ours else None

    @property
    def verdict(self) -> str | None:
        """Where the published figure lies: `inside`, `above` or `below` our interval; None without an interval."""
        if not self.ours or not self.ours.interval:
            return None
        low, high = self.ours.interval
        return "below" if self.published < low else "above" if self.published > high else "inside"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A published run next to ours.

    Attributes:
        name: of the run in `published.yaml`.
        reported: what was published.
        run: ours; None if `params.yaml` has none of this name.
        machine: that trained ours, in words; empty if it is not known.
        lines: a line for each published figure.
    """

    name: str
    reported: PublishedRun
    run: TrainedRun | None
    machine: str
    lines: Sequence[Line]


def published_chapter(system: Path, published: Published, tasks: Mapping[str, Task]) -> Markup:
    """Lay out the chapter.

    Args:
        system: the system's folder.
        published: what `published.yaml` says.
        tasks: of each run and ensemble of the system.

    Raises:
        UserError: if a run is not trained or evaluated yet, or a class is published that the runs do not know.
    """
    here = {name: tasks[name] for name in published.runs if name in tasks}
    trained = {name: read_trained(system, name, task.metrics_class()) for name, task in here.items()}
    if classes := sorted({label for run in trained.values() for label in run.record.classes}):
        check_classes(published, classes)
    runs = [compared(name, reported, tasks.get(name), trained.get(name)) for name, reported in published.runs.items()]
    return render("lamina.report", "published.html.jinja", published=published, runs=runs)


def compared(name: str, reported: PublishedRun, task: Task | None, run: TrainedRun | None) -> Compared:
    """Put each published figure of a run next to ours; task, run: ours, None if there is none."""
    quantities = known_quantities(task)
    tested = _tested(run) if run else []
    lines = [
        Line(
            measure=measure,
            label=label,
            quantity=quantities[measure],
            published=float(value),
            ours=_ours(task, tested, measure, label) if task else None,
        )
        for (measure, label), value in reported.figures.items()
    ]
    return Compared(name=name, reported=reported, run=run, machine=_machine(run) if run else "", lines=lines)


def _tested(run: TrainedRun) -> list[Tested]:
    """Return what our values are taken from: a cross-validation, where there is one, goes before the test fold."""
    test, crossed = run.metrics.test, run.assessment.crossvalidation
    found = [Tested(scores=test, rows=run.predictions, crossvalidated=False)]
    if crossed is None:
        return found
    rows = read_table(run.folder / "crossvalidation.parquet", ("origin",), made_by(run.folder, "assess"))
    return [Tested(scores=type(test).model_validate(crossed.scores), rows=rows, crossvalidated=True), *found]


def _ours(task: Task, tested: Sequence[Tested], measure: str, label: str | None) -> Ours | None:
    """Return our value of a measure, from the first that has it."""
    for one in tested:
        if found := measured(task, one.scores, one.rows, measure, label):
            value, interval = found
            return Ours(value=value, interval=interval, n=one.scores.n, crossvalidated=one.crossvalidated)
    return None


def _machine(run: TrainedRun) -> str:
    path = run.folder / "timing.json"
    machine = read_result(path, Timing, made_by(run.folder, "train")).machine if path.exists() else {}
    cores = [f"{machine['cores']} cores"] if "cores" in machine else []
    return ", ".join([*cores, *(str(machine[key]) for key in ("system", "processor") if key in machine)])
