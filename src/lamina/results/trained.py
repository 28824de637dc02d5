"""What training leaves behind, whatever the task: record, history, trials, numbers and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lamina.results.assessment import Assessment, read_assessment
from lamina.results.champion import read_champion
from lamina.results.folders import made_by, results_folder
from lamina.results.metrics import Metrics
from lamina.results.record import Record, Timing, read_record
from lamina.results.result_file import read_optional_table, read_result, read_table, read_yaml

TRIALS = ("number", "state", "value", "epochs")


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A trained and evaluated run, or an ensemble, as the report and MLflow read it.

    Attributes:
        name: of the run; folder: of its results.
        history: the columns of `history.csv`, without rows for an ensemble, which does not train.
        trials: the columns of `trials.csv`, without rows where nothing was tuned.
        numbers: those it trained with.
        seconds: by phase, extraction included; empty where no times were kept.
        metrics: of the class of its task; assessment: empty if nothing was configured.
        predictions: the columns of `predictions.parquet`.
        sheets: contact sheets by name, of training and evaluation.
        champion: whether it is the accepted champion, not trained again since.
    """

    name: str
    folder: Path
    record: Record
    history: pd.DataFrame
    trials: pd.DataFrame
    numbers: Mapping[str, Any]
    seconds: Mapping[str, float]
    metrics: Metrics
    assessment: Assessment
    predictions: pd.DataFrame
    sheets: Mapping[str, Path] = field(default_factory=dict)
    champion: bool = False

    @property
    def duration(self) -> float | None:
        """Seconds of all phases together; None where no times were kept."""
        return sum(self.seconds.values()) if self.seconds else None

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings that have a value, with the numbers that tuning found."""
        given = {name: value for name, value in self.record.settings.items() if value not in (None, {})}
        return {name: self.numbers.get(name, value) for name, value in given.items()}


def read_trained(
    system: Path, name: str, metrics: type[Metrics], predicted: Sequence[str] = ("id", "origin")
) -> TrainedRun:
    """Read a trained and evaluated run, or an ensemble, of a system's folder.

    Args:
        system: the system's folder.
        name: of the run.
        metrics: class of its `metrics.json`.
        predicted: columns that its predictions must have.

    Raises:
        UserError: if a file is missing or broken; names the stage to run.
    """
    folder, champion = results_folder(system, name), read_champion(system)
    record = read_record(folder)
    evaluated, read_history = made_by(folder, "evaluate"), read_optional_table if record.members else read_table
    sheets = sorted([*(folder / "progress").glob("*.png"), *(folder / "sheets").glob("*.png")])
    return TrainedRun(
        name=name,
        folder=folder,
        record=record,
        history=read_history(folder / "history.csv", ("epoch",), f"train@{name}"),
        trials=read_optional_table(folder / "trials.csv", TRIALS, f"tune@{name}"),
        numbers=read_yaml(folder / "tuned.yaml", f"tune@{name}"),
        seconds=_seconds(system, record, folder),
        metrics=read_result(folder / "metrics.json", metrics, evaluated),
        assessment=read_assessment(folder, record.key),
        predictions=read_table(folder / "predictions.parquet", predicted, evaluated),
        sheets={path.stem: path for path in sheets},
        champion=champion is not None and (champion.run, champion.key) == (name, record.key),
    )


def _seconds(system: Path, record: Record, folder: Path) -> dict[str, float]:
    """Seconds by phase: of the input, where it took any, then of training."""
    timings = (system / "data" / f"{record.input}.timing.json", folder / "timing.json")
    found: dict[str, float] = {}
    for path in timings:
        if path.exists():
            found |= read_result(path, Timing, f"train@{folder.name}").seconds
    return found
