"""The results of a system in Python, and predictions of its models.

```python
import lamina

system = lamina.open("pipelines/digits")
run = system.runs["augmented"]
run.metrics.test.accuracy, run.metrics.test.interval
run.predict("new/")
```

Nothing is read before you use it. TensorFlow is imported by `Run.predict` alone, pandas by what returns a table.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lamina.config import Params, read_params
from lamina.errors import UserError
from lamina.results.assessment import Assessment, read_assessment
from lamina.results.champion import read_champion
from lamina.results.evaluated import are_scores_earlier, require_evaluated
from lamina.results.folders import made_by, results_folder
from lamina.results.metrics import Metrics
from lamina.results.record import Record, read_record
from lamina.results.result_file import read_optional_table, read_result, read_table
from lamina.tasks.ensembles import result_tasks, task_and_input
from lamina.tasks.evaluated import evaluated_metrics
from lamina.tasks.runs import meant
from lamina.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "Runs", "System", "UnknownRunError", "UserError", "open"]

AnyPath: TypeAlias = str | Path


class UnknownRunError(UserError, KeyError):
    """There is no run of this name; the message lists those that there are."""

    __str__ = Exception.__str__  # a KeyError would show its message in quotes


def open(system: AnyPath = ".") -> "System":
    """Open a system.

    Args:
        system: Its folder, which holds `params.yaml`.

    Returns:
        The system. Results are read from their files when you use them, every time again.

    Raises:
        UserError: If there is no system in the folder, or its `params.yaml` is not valid.
    """
    folder = Path(system).absolute()
    if not (folder / "params.yaml").is_file():
        raise UserError(f"{folder}: no system there; expected a folder with params.yaml, which `lamina new` makes")
    params = read_params(folder)
    tasks = result_tasks(params)
    return System(folder, params, Runs(folder, {name: Run(name, folder, task) for name, task in tasks.items()}))


@dataclass(frozen=True)
class Run:
    """A run or an ensemble of a system.

    Attributes:
        name: In `params.yaml`.
        system: Folder of the system.
        task: What it does: `task.name` is `classify`, `colorize`, ...; `task.measure` what it is compared by.
    """

    name: str
    system: Path
    task: Task = field(repr=False)

    @property
    def folder(self) -> Path:
        """Folder of its results, whether they are there or not; it holds `model.keras`."""
        return results_folder(self.system, self.name)

    @property
    def is_trained(self) -> bool:
        """Whether it is trained, and evaluated since, so that all results are there."""
        there = all((self.folder / name).exists() for name in ("record.json", "metrics.json"))
        return there and not are_scores_earlier(self.folder)

    @property
    def record(self) -> Record:
        """What it was trained with, such as settings, numbers, seed, classes, data and versions, and its `key`.

        Raises:
            UserError: If it is not trained yet.
        """
        return read_record(self.folder)

    @property
    def config(self) -> dict[str, Any]:
        """Its settings by name, as it was trained; `tune` is replaced by the number that was found.

        Raises:
            UserError: If it is not trained yet.
        """
        record = self.record
        return {name: record.numbers.get(name, value) for name, value in record.settings.items()}

    @property
    def metrics(self) -> Metrics:
        """Its scores on the folds `test` and `validation`, of the class of its task.

        Each fold has the measure's `value`, its 95 % `interval` over origins, and `n` and `origins`.

        Raises:
            UserError: If it is not evaluated yet, or was trained again since.
        """
        require_evaluated(self.folder)
        return read_result(self.folder / "metrics.json", evaluated_metrics(self.task), made_by(self.folder, "evaluate"))

    @property
    def assessment(self) -> Assessment:
        """What training it again showed, with other seeds, folds or shuffled labels; empty without `assess`.

        Raises:
            UserError: If it is not trained yet, or was trained otherwise since.
        """
        return read_assessment(self.folder, self.record.key)

    @property
    def predictions(self) -> "pd.DataFrame":
        """Its answers for the test pictures or texts, a row each, with `id`, `origin` and the columns of its task.

        Raises:
            UserError: If it is not evaluated yet, or was trained again since.
        """
        require_evaluated(self.folder)
        path = self.folder / "predictions.parquet"
        return read_table(path, ("id", "origin"), made_by(self.folder, "evaluate"))

    @property
    def history(self) -> "pd.DataFrame":
        """Its epochs, a row each, with `epoch`, losses and measures; no rows for an ensemble, which does not train.

        Raises:
            UserError: If it is not trained yet.
        """
        read = read_optional_table if self.record.members else read_table
        return read(self.folder / "history.csv", ("epoch",), made_by(self.folder, "train"))

    def predict(self, paths: AnyPath | Iterable[AnyPath]) -> "pd.DataFrame":
        """Predict the class, the labels or the number of pictures or texts: the same answers as `lamina predict`.

        The model is loaded in every call, which takes seconds: give many pictures at once.

        Args:
            paths: Pictures, or texts where the run learned from texts, or folders of them.

        Returns:
            A row for each, in order, with the columns of `lamina predict --csv`: `path`, `predicted`, and `error`,
            which says why a file could not be read; then the others are missing. Of a classifier `predicted` is the
            most probable class, and there are the probability of each class, `p:CLASS`, and how far they can be
            trusted, `scaled:CLASS`, `set:CLASS`, `distance` and `outlier`, where that is known. Of labels it holds
            them, separated by `|`, and there is `p:LABEL` of each. Of a number there are `low` and `high`, between
            which the true one lies with the coverage that the report shows.

        Raises:
            UserError: If a path is not there, the run has another task, or it is not trained yet.
        """
        from lamina.commands.given_files import find_pictures
        from lamina.commands.predict import answer
        from lamina.commands.predict_texts import answer_texts

        given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
        if task_and_input(read_params(self.system), self.name)[1].startswith("words/"):
            answers, found = answer_texts(self.system, self.name, given)
        else:
            answers, found = answer(self.system, self.name, find_pictures(given))
        import pandas as pd

        columns = answers.cells(answers.prediction(path=""))  # those of no file, too
        table = pd.DataFrame([answers.cells(one) for one in found], columns=list(columns))
        return table.astype({name: float for name in table if str(name).startswith(("p:", "scaled:", "set:"))})


class Runs(Mapping[str, Run]):
    """The runs and ensembles of a system by name, in the order of `params.yaml`."""

    def __init__(self, folder: Path, runs: Mapping[str, Run]) -> None:
        self._folder, self._runs = folder, runs

    def __getitem__(self, name: str) -> Run:
        if name not in self._runs:
            raise UnknownRunError(f"{self._folder}: there is no run {name!r}{meant(name, list(self._runs))}")
        return self._runs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"Runs({', '.join(self._runs)})"


@dataclass(frozen=True)
class System:
    """A system: a folder with `params.yaml` and the results of its stages.

    Attributes:
        folder: Absolute.
        params: The sections of `params.yaml` by name.
        runs: Runs and ensembles by name.
    """

    folder: Path
    params: Params = field(repr=False)
    runs: Runs

    @property
    def manifest(self) -> "pd.DataFrame":
        """The rows of the split, with `id`, `origin`, `label`, `copy` (0 is the original), `fold` and `part`.

        Raises:
            UserError: If the data are not split yet.
        """
        return read_table(self.folder / "data" / "split" / "manifest.parquet", ("id", "origin", "fold"), "split")

    @property
    def report(self) -> Path:
        """The report, one HTML file.

        Raises:
            UserError: If it is not written yet.
        """
        path = self.folder / "reports" / "index.html"
        if not path.exists():
            raise UserError(f"{path}: not found; write it with `dvc repro report`, or `dvc pull` where others did")
        return path

    @property
    def champion(self) -> Run | None:
        """The run with the best validation score among those that `lamina gate --accept` took; None before that.

        Raises:
            UserError: If its run is no longer in `params.yaml`.
        """
        champion = read_champion(self.folder)
        return self.runs[champion.run] if champion else None
