"""The files of one run that tracking brings to MLflow."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.errors import UserError
from lamina.files import file_digest, json_digest
from lamina.results.measures import MeasureName
from lamina.tasks.runs import KINDS

RECORD_KEYS = ("run", "system", "kind", "key", "params", "tuned", "seed", "classes", "size", "data", "environment")
FILES = (
    "assessment.json",
    "confusion.csv",
    "crossvalidation.parquet",
    "history.csv",
    "metrics.json",
    "predictions.parquet",
    "record.json",
    "timing.json",
    "trials.csv",
    "tuned.yaml",
)
SHEETS = ("colors.png", "extremes.png", "learning.png", "lightness.png")


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A run's folder and what was read from it; trials are as text, an empty one meaning that there is no value."""

    folder: Path
    record: Mapping[str, Any]
    history: list[dict[str, float]]
    trials: list[dict[str, str]]
    metrics: Mapping[str, Any]
    assessment: Mapping[str, Any]
    seconds: Mapping[str, float]

    @property
    def model(self) -> Path:
        return self.folder / "model.keras"

    @property
    def measure(self) -> MeasureName:
        """What the run is judged by."""
        return KINDS[self.record["kind"]].measure

    @property
    def digest(self) -> str:
        """SHA-256 of what the run came to: learned and evaluated again to the same end, it is the same."""
        told = [self.history, self.trials, self.metrics, self.assessment]
        return json_digest([*told, file_digest(self.folder / "predictions.parquet")])

    def artifacts(self) -> list[Path]:
        """The small files that are kept with the run, as far as they are there."""
        return [self.folder / name for name in FILES if (self.folder / name).exists()]

    def sheets(self) -> list[Path]:
        """The pictures that its stages drew, as far as they are there."""
        return [self.folder / name for name in SHEETS if (self.folder / name).exists()]


def read_run(system: Path, run: str) -> RunFiles:
    """Read the files of a trained and evaluated run; raises UserError naming what is missing or broken."""
    folder = system / "models" / run
    record = _json(folder / "record.json")
    absent = [key for key in RECORD_KEYS if key not in record]
    if absent:
        raise UserError(f"{folder / 'record.json'}: {', '.join(absent)} missing; run `dvc repro train@{run}` again")
    if record["kind"] not in KINDS:
        raise UserError(f"{folder / 'record.json'}: unknown kind {record['kind']!r}; run `dvc repro train@{run}` again")
    for name in ("metrics.json", "model.keras", "predictions.parquet"):
        if not (folder / name).exists():
            raise _missing(folder / name)
    timing, assessment = folder / "timing.json", folder / "assessment.json"
    return RunFiles(
        folder=folder,
        record={"commit": None, **record},
        history=[{name: float(text) for name, text in row.items() if text} for row in _rows(folder / "history.csv")],
        trials=_rows(folder / "trials.csv") if (folder / "trials.csv").exists() else [],
        metrics=_json(folder / "metrics.json"),
        assessment=_json(assessment) if assessment.exists() else {},
        seconds=_json(timing)["seconds"] if timing.exists() else {},
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path) from None
    except ValueError as error:
        raise _broken(path, error) from None
    if not isinstance(value, dict):
        raise _broken(path, f"expected an object, found {type(value).__name__}")
    return value


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise _missing(path) from None
    except ValueError as error:
        raise _broken(path, error) from None


def _missing(path: Path) -> UserError:
    return UserError(f"{path}: not found; run `dvc repro`, or `dvc pull` where others ran it")


def _broken(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: cannot be read ({reason}); delete it and run `dvc repro` again")
