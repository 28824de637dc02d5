"""What a system's stages left behind, read and checked: the report's only contact with files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lamina.errors import UserError
from lamina.learn.champion import read_champion


class Written(BaseModel):
    """A JSON file that a stage wrote; keys that the report does not show are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ClassScore(Written):
    precision: float
    recall: float
    f1: float
    n: int


class Calibration(Written):
    """How far probabilities are from what they promise; rates from 0 to 1, `brier` from 0 to 2."""

    ece: float
    interval: tuple[float, float]
    by_chance: float
    brier: float
    log_loss: float


class Score(Written):
    """One fold's part of `metrics.json`; rates from 0 to 1, `interval` at 95 % over origins."""

    accuracy: float
    interval: tuple[float, float]
    n: int
    origins: int
    macro_f1: float
    per_class: dict[str, ClassScore]
    majority: float
    calibration: Calibration | None = None


class Metrics(Written):
    test: Score
    validation: Score


class Spread(Written):
    """Accuracies of several trainings; the deviation of one of them, None where there is but one."""

    accuracies: list[float]
    mean: float
    deviation: float | None


class Repeats(Written):
    seeds: list[int]
    test: Spread
    validation: Spread


class FoldScore(Written):
    accuracy: float
    n: int


class CrossValidation(Score):
    folds: list[FoldScore]


class Control(Written):
    """The run trained with labels dealt at random; `interval` is what chance alone makes of 95 % of such deals."""

    accuracy: float
    chance: float
    interval: tuple[float, float]
    p: float
    passed: bool


class Assessment(Written):
    """`assessment.json`: what training the run again told, as far as that was asked for."""

    repeats: Repeats | None = None
    control: Control | None = None
    crossvalidation: CrossValidation | None = None

    @property
    def told(self) -> bool:
        return bool(self.repeats or self.control or self.crossvalidation)


class Record(Written):
    """The part of `record.json` that is shown; `params` is the run's own section, as checked before training."""

    system: str
    kind: str
    params: dict[str, Any]
    classes: list[str]
    seed: int | None = None
    commit: str | None = None
    parameters: int | None = None
    key: str | None = None


class Timing(Written):
    seconds: dict[str, float]


class AuditCount(Written):
    """The part of the split's `summary.json` that tells of the leak audit; None where none was made."""

    compared: int | None = None
    suspicious: int | None = None
    suspicious_from: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that the report says about one run.

    history: the columns of `history.csv`. predictions: those of `predictions.parquet`. trials: those of
    `trials.csv`, without rows where nothing was tuned. tuned: the values trained with, if tuning wrote any.
    seconds: per phase, extraction included; empty where no timing was kept. looked_at: a sheet, None where there is
    none. champion: whether it is the accepted one, not trained again since.
    """

    name: str
    metrics: Metrics
    record: Record
    history: pd.DataFrame
    predictions: pd.DataFrame
    trials: pd.DataFrame
    tuned: dict[str, Any]
    seconds: dict[str, float]
    assessment: Assessment
    looked_at: Path | None
    champion: bool


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What the system learned from.

    names: picture names by id, in the order of `pixels`, which are (N, S, S, 3) int16 CIELAB x 100, mapped from disk.
    split: `id`, `origin`, `label`, `copy`, `fold`. rejected: `name`, `reason`; None where nothing was filtered.
    groups: near duplicates, `group`, `name`, `origin`; no rows where none were looked for.
    cells: `agreement` of the cell found in each picture with the box told; no rows where none was looked for.
    joined: pairs of pictures that became one origin, `id`, `other`, `agreement`.
    audit: `id`, `nearest`, `fold`, `distance`, `unusual`, `agreement`, the suspicious first; None where none was made.
    sheets: contact sheets that are there, by the name of what they show. docs: whether Data Docs are there.
    """

    names: "pd.Series[str]"
    pixels: np.ndarray
    split: pd.DataFrame
    rejected: pd.DataFrame | None
    groups: pd.DataFrame
    cells: pd.DataFrame
    joined: pd.DataFrame
    audit: pd.DataFrame | None
    counted: AuditCount
    sheets: Mapping[str, Path]
    docs: bool


HISTORY = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
GROUPS = ("group", "id", "name", "origin")
CELLS = ("agreement",)
JOINED = ("id", "other", "agreement")
PAIRS = ("id", "nearest", "fold", "distance", "unusual", "agreement")
SHEETS = {
    "kept": "filtered/kept.png",
    "rejected": "filtered/rejected.png",
    "groups": "filtered/groups.png",
    "cells": "filtered/cells.png",
    "augmented": "augmented/sheet.png",
    "folds": "split/folds.png",
    "joined": "split/joined.png",
    "closest": "split/closest.png",
}
TRIALS = ("number", "state", "value", "learning_rate", "dropout", "decay")


def read_run(system: Path, name: str) -> Run:
    """Read one run of a system's folder.

    Raises UserError, naming the stage to run, where it was not trained or evaluated yet or a file is broken.
    """
    folder = system / "models" / name
    evaluate, train = f"evaluate@{name}", f"train@{name}"
    timing, assessment, looked_at = folder / "timing.json", folder / "assessment.json", folder / "looked_at.png"
    assess, champion = f"assess@{name}", read_champion(system)
    record = _json(folder / "record.json", Record, train)
    return Run(
        name=name,
        record=record,
        metrics=_json(folder / "metrics.json", Metrics, evaluate),
        predictions=_table(
            folder / "predictions.parquet", ("id", "origin", "label", "predicted", *record.classes), evaluate
        ),
        history=_table(folder / "history.csv", HISTORY, train),
        trials=_optional_table(folder / "trials.csv", TRIALS, f"tune@{name}"),
        tuned=_yaml(folder / "tuned.yaml", f"tune@{name}"),
        seconds=_json(timing, Timing, train).seconds if timing.exists() else {},
        assessment=_json(assessment, Assessment, assess) if assessment.exists() else Assessment(),
        looked_at=looked_at if looked_at.exists() else None,
        champion=champion is not None and (champion.run, champion.key) == (name, record.key),
    )


def read_pictures(system: Path) -> Pictures:
    """Read what the data stages of a system's folder wrote; raises UserError where convert or split is missing."""
    data = system / "data"
    manifest = _table(data / "lab" / "manifest.parquet", ("id", "name"), "convert")
    rejected, audit = data / "filtered" / "rejected.parquet", data / "split" / "audit.parquet"
    summary = data / "split" / "summary.json"
    return Pictures(
        names=manifest.set_index("id")["name"],
        pixels=_pixels(data / "lab" / "pixels.npy", "convert"),
        split=_table(data / "split" / "manifest.parquet", ("id", "origin", "label", "copy", "fold"), "split"),
        rejected=_table(rejected, ("name", "reason"), "filter") if rejected.exists() else None,
        groups=_optional_table(data / "filtered" / "groups.parquet", GROUPS, "filter"),
        cells=_optional_table(data / "filtered" / "cells.parquet", CELLS, "filter"),
        joined=_optional_table(data / "split" / "joined.parquet", JOINED, "split"),
        audit=_table(audit, PAIRS, "split") if audit.exists() else None,
        counted=_json(summary, AuditCount, "split") if summary.exists() else AuditCount(),
        sheets={name: data / path for name, path in SHEETS.items() if (data / path).exists()},
        docs=(data / "validation" / "docs" / "index.html").exists(),
    )


W = TypeVar("W", bound=Written)


def _json(path: Path, kind: type[W], stage: str) -> W:
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise _broken(path, f"{place}: {problem['msg'].lower()}", stage) from None
    except ValueError as error:
        raise _broken(path, str(error), stage) from None


def _table(path: Path, columns: Sequence[str], stage: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except (ValueError, OSError) as error:
        raise _broken(path, str(error), stage) from None
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise _broken(path, f"no column {', '.join(absent)}", stage)
    return table


def _pixels(path: Path, stage: str) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except ValueError as error:
        raise _broken(path, str(error), stage) from None


def _optional_table(path: Path, columns: Sequence[str], stage: str) -> pd.DataFrame:
    return _table(path, columns, stage) if path.exists() else pd.DataFrame(columns=list(columns))


def _yaml(path: Path, stage: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise _broken(path, str(error), stage) from None
    if not isinstance(values, dict):
        raise _broken(path, f"expected tuned values, found {type(values).__name__}", stage)
    return values


def _missing(path: Path, stage: str) -> UserError:
    return UserError(f"{path}: not found, so the report cannot be written yet; run `dvc repro {stage}` first")


def _broken(path: Path, reason: str, stage: str) -> UserError:
    said = " ".join(reason.split())
    return UserError(f"{path}: cannot be read ({said}); delete it and run `dvc repro {stage}` again")
