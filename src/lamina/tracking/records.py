"""A run as tracking brings it to MLflow: what its stages wrote, and a digest of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pandas as pd

from lamina.errors import UserError
from lamina.files import file_digest, json_digest
from lamina.results.folders import made_by, results_folder
from lamina.results.record import read_record, system_name
from lamina.results.trained import TrainedRun, read_trained
from lamina.results.uncertainty import FOLDER, KNOWN
from lamina.source_code import code_digest
from lamina.tasks.evaluated import evaluated_metrics
from lamina.tasks.registry import TASKS
from lamina.tasks.task import Task

FILES: Final = (
    "assessment.json",
    "crossvalidation.parquet",
    "history.csv",
    "metrics.json",
    "predictions.parquet",
    "record.json",
    "timing.json",
    "trials.csv",
    "tuned.yaml",
    f"{FOLDER}/{KNOWN}",
)


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A trained and evaluated run, its task, the name of its system, and the folder of inputs."""

    run: TrainedRun
    task: Task
    system: str
    inputs: Path

    @property
    def model(self) -> Path:
        """The saved model."""
        return self.run.folder / "model.keras"

    @property
    def epochs(self) -> list[dict[str, float]]:
        """The rows of the history, without missing values."""
        rows = self.run.history.to_dict("records")
        return [{str(name): float(value) for name, value in row.items() if pd.notna(value)} for row in rows]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what MLflow shows of the run: trained and evaluated again to the same end, it is the same."""
        names = (
            "history.csv",
            "trials.csv",
            "metrics.json",
            "assessment.json",
            "predictions.parquet",
            f"{FOLDER}/{KNOWN}",
        )
        paths = [self.run.folder / name for name in names]
        served = code_digest("lamina.tracking.model", f"{self.task.package}.serving")
        return json_digest([*(file_digest(path) if path.exists() else None for path in paths), served])

    def artifacts(self) -> list[Path]:
        """The small files that are kept with the run, as far as they are there."""
        return [self.run.folder / name for name in FILES if (self.run.folder / name).exists()]


def read_tracked(system: Path, name: str) -> TrackedRun:
    """Read a trained and evaluated run, or an ensemble; raises UserError naming what is missing or broken."""
    folder = results_folder(system, name)
    train = made_by(folder, "train")
    task = TASKS.get(read_record(folder).task)
    if task is None:
        unknown = read_record(folder).task
        raise UserError(f"{folder / 'record.json'}: unknown task {unknown!r}; run `dvc repro {train}` again")
    if not (folder / "model.keras").exists():
        raise UserError(f"{folder / 'model.keras'}: not found; run `dvc repro {train}`, or `dvc pull`")
    run = read_trained(system, name, evaluated_metrics(task))
    return TrackedRun(run=run, task=task, system=system_name(system), inputs=system / "data")
