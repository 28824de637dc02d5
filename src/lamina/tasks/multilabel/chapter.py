"""The report's chapter about runs that give labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from markupsafe import Markup

from lamina.charts.chapter import Chapter, ShownRows, render
from lamina.charts.plain import Baseline, chapter_by_group, plain_chapter
from lamina.maths.label_scores import f1_of_each
from lamina.results.metrics import FEW_CLASSES
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.multilabel.results import PREDICTED, LabelScores, Metrics, label_flags

PACKAGE: Final = "lamina.tasks.multilabel"
SCORES: Final = {
    "mean_average_precision": "Mean average precision (no threshold)",
    "roc_auc": "ROC AUC, mean over labels",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "subset_accuracy": "All labels right",
    "label_accuracy": "Right decisions, one for each label of each example",
}
WORST: Final = 12  # texts


@dataclass(frozen=True, kw_only=True)
class Worst:
    """A test text whose labels are far off: the true ones, those missed, and those wrongly given."""

    id: str
    origin: str
    true: str
    missed: str
    wrong: str


def chapter(system: Path, names: Sequence[str], data: ShownRows) -> Chapter:
    """Lay out the chapter, highest test F1 of the same targets first; see `lamina.tasks.task.Task.chapter`."""
    runs = [read_trained(system, name, Metrics, PREDICTED) for name in names]
    return chapter_by_group("Labels", "multilabel", runs, _targets, partial(_lay_out, data=data))


def _lay_out(title: str, anchor: str, runs: Sequence[TrainedRun], data: ShownRows) -> Chapter:
    return plain_chapter(
        title,
        anchor,
        runs,
        higher_is_better=True,
        of_each=_f1,
        baseline=Baseline(
            name="always the most frequent labels", value=lambda run: _test(run).further["majority_f1"].value
        ),
        further=partial(_further, data=data),
        captions={
            "labels": "Test pictures by the F1 of their labels: the true ones, then those that were missed or wrongly "
            "given."
        },
    )


def _targets(run: TrainedRun) -> str:
    return ", ".join(run.record.settings["targets"])


def _test(run: TrainedRun) -> LabelScores:
    return cast(LabelScores, run.metrics.test)


def _flags(run: TrainedRun) -> tuple[np.ndarray, np.ndarray]:
    """Which labels each test row has, and which it was given: (n, labels) bool each."""
    true, given = (label_flags(run.predictions[column], run.record.classes) for column in ("labels", "predicted"))
    return true, given


def _f1(run: TrainedRun) -> np.ndarray:
    return f1_of_each(*_flags(run))


def _further(run: TrainedRun, data: ShownRows) -> Markup:
    test = _test(run)
    listed: list[Any] = sorted(test.per_label.items(), key=lambda item: (item[1].f1, item[0]))
    few = len(listed) <= FEW_CLASSES
    return render(
        PACKAGE,
        "further.html.jinja",
        test=test,
        scores={words: test.further[name] for name, words in SCORES.items() if name in test.further},
        listed=list(test.per_label.items()) if few else listed[:FEW_CLASSES],
        more=0 if few else len(listed) - FEW_CLASSES,
        worst=_worst(run, WORST) if run.record.input.startswith("words/") else [],  # pictures have a sheet
        data=data,
    )


def _worst(run: TrainedRun, most: int) -> list[Worst]:
    """Return at most `most` test texts with errors, the lowest F1 first, then the most errors, then by id."""
    true, given = _flags(run)
    rows, f1, errors = run.predictions, f1_of_each(true, given), (true ^ given).sum(axis=1)
    shown = [place for place in np.lexsort((rows["id"], -errors, f1)) if errors[place]][:most]

    def listed(flags: np.ndarray) -> str:
        return ", ".join(name for name, there in zip(run.record.classes, flags, strict=True) if there)

    return [
        Worst(
            id=rows["id"].iloc[place],
            origin=rows["origin"].iloc[place],
            true=listed(true[place]),
            missed=listed(true[place] & ~given[place]),
            wrong=listed(given[place] & ~true[place]),
        )
        for place in shown
    ]
