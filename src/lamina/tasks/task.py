"""A task: a kind of run, and the package with its code.

The package of a task has these modules:

- `settings.py`: `settings_class(given)`, the class of a run's settings;
- `learning.py`: `open_learner(...)`, examples, network and trainer of a run;
- `evaluation.py`: `evaluate(...)`, scores, predictions and sheets of a trained run;
- `results.py`: `Metrics`, what `metrics.json` holds;
- `chapter.py`: `chapter(...)`, the task's part of the report;
- `serving.py`: `serving(record)`, what a served model takes and gives;
- `scores.py`, if evaluation measures more than what training imports of `results.py`: its own `Metrics`
  (`lamina.tasks.evaluated`);
- `answers.py`, if `lamina predict` gives its answers: `open_answers(folder, record, wish)`;
- `averaging.py`, if ensembles may average its runs: `average(...)`, `summarise(...)`;
- `control.py`, if it learns targets that a negative control can shuffle: `control(retrainer)`
  (`lamina.tasks.controls`);
- `published.py`, if publications report more of its runs than its measure: `QUANTITIES`, `measured(...)`
  (`lamina.tasks.published`).

They are imported only when they are used: training a run never loads the report, and editing a module reruns only the
stages that use it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from lamina.results.measure_names import HIGHER_IS_BETTER
from lamina.source_code import code_digest, module_path

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from lamina.charts.chapter import Chapter, ShownRows
    from lamina.data.rows import Folders
    from lamina.results.measure_names import MeasureName
    from lamina.results.metrics import Metrics
    from lamina.results.record import Record
    from lamina.results.serving import Serving
    from lamina.tasks.answers import Answers
    from lamina.tasks.wish import Wish
    from lamina.training.learner import Learner, Setup
    from lamina.training.settings import RunSettings

Direction = Literal["maximize", "minimize"]

# for each stage that a run goes through, the modules of its task that decide what the stage writes
DECIDING: Final[Mapping[str, tuple[str, ...]]] = {
    "tune": ("learning",),
    "train": ("learning",),
    "assess": ("learning",),
    "evaluate": ("evaluation",),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of run.

    Attributes:
        name: as `params.yaml` names it.
        package: dotted name of its room.
        measure: what tuning optimises on the validation fold, and what the gate compares on the test fold.
        guarded: whether the gate compares its runs.
        averaged: whether ensembles may average the predictions of its runs.
        uses_metadata: whether it learns from columns of `source.metadata` (`lamina.inputs.targets`).
    """

    name: str
    package: str
    measure: "MeasureName"
    guarded: bool = True
    averaged: bool = False
    uses_metadata: bool = False

    @property
    def direction(self) -> Direction:
        """Where better values of the measure lie."""
        return "maximize" if HIGHER_IS_BETTER[self.measure] else "minimize"

    def settings_class(self, given: Mapping[str, Any]) -> "type[RunSettings]":
        """Return the class of a run's settings; given: the run's mapping in `params.yaml`."""
        return cast("type[RunSettings]", self._module("settings").settings_class(given))

    def open_learner(self, setup: "Setup") -> "Learner":
        """Open what a run learns: examples of the folds, network and trainer.

        Raises:
            UserError: if there is nothing to learn from.
        """
        return cast("Learner", self._module("learning").open_learner(setup))

    def evaluate(self, folders: "Folders", models: Path) -> "tuple[Metrics, pd.DataFrame, dict[str, Image]]":
        """Evaluate the model in a run's folder on validation and test.

        Returns:
            The scores, the predictions for the test rows, and sheets by name.
        """
        found: tuple[Metrics, pd.DataFrame, dict[str, Image]] = self._module("evaluation").evaluate(folders, models)
        return found

    def average(self, tables: "Sequence[pd.DataFrame]", classes: Sequence[str]) -> "pd.DataFrame":
        """Average what runs predicted for the same rows, where `averaged`.

        Args:
            tables: of each run, as in `crossvalidation.parquet`, with the same rows in the same order.
            classes: of the runs.
        """
        return cast("pd.DataFrame", self._module("averaging").average(tables, classes))

    def summarise(self, rows: "pd.DataFrame", classes: Sequence[str]) -> dict[str, Any]:
        """Return the scores of rows that `average` gives."""
        return cast("dict[str, Any]", self._module("averaging").summarise(rows, classes))

    def metrics_class(self) -> "type[Metrics]":
        """Return the class of `metrics.json`."""
        return cast("type[Metrics]", self._module("results").Metrics)

    def chapter(self, system: Path, names: Sequence[str], data: "ShownRows") -> "Chapter":
        """Return the task's part of the report.

        Args:
            system: Folder of the system.
            names: Of the runs, at least one.
            data: The rows that the runs were tested on.
        """
        return cast("Chapter", self._module("chapter").chapter(system, names, data))

    def serving(self, record: "Record") -> "Serving":
        """Say what a served model of a run takes and gives."""
        return cast("Serving", self._module("serving").serving(record))

    @property
    def is_answered(self) -> bool:
        """Whether `lamina predict` gives its answers."""
        return module_path(f"{self.package}.answers") is not None

    def open_answers(self, folder: Path, record: "Record", wish: "Wish") -> "Answers":
        """Open what turns the outputs of a run's model into answers, where `is_answered`.

        Args:
            folder: of the run or ensemble.
            record: of it.
            wish: what is wanted of the answers.

        Raises:
            UserError: if the wish cannot be met.
        """
        return cast("Answers", self._module("answers").open_answers(folder, record, wish))

    def deciding_modules(self, stage: str) -> tuple[str, ...]:
        """Name the modules of the task that decide what a stage writes about a run."""
        return tuple(f"{self.package}.{module}" for module in DECIDING[stage])

    @property
    def training_code(self) -> str:
        """SHA-256 of the code that decides how a run of the task trains."""
        return code_digest(*self.deciding_modules("train"))

    def _module(self, name: str) -> Any:
        return import_module(f"{self.package}.{name}")
