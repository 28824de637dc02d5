"""What training leaves behind, whatever the run learned: its record, its course, and what tuning found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lamina.results.champion import read_champion
from lamina.results.reading import Written, read_json, read_optional_table, read_table, read_yaml

TRIALS = ("number", "state", "value", "learning_rate", "dropout", "decay")


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


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the report says about a run of any kind.

    history: the columns of `history.csv`. trials: those of `trials.csv`, without rows where nothing was tuned. tuned:
    the values trained with, if tuning wrote any. seconds: per phase; empty where no timing was kept. champion: whether
    it is the accepted one, not trained again since.
    """

    name: str
    record: Record
    history: pd.DataFrame
    trials: pd.DataFrame
    tuned: dict[str, Any]
    seconds: dict[str, float]
    champion: bool

    @property
    def network(self) -> str:
        """Backbone, or network of the zoo."""
        return str(self.record.params.get("backbone") or self.record.params.get("network", "unknown"))

    @property
    def weights(self) -> str:
        """What its backbone started from."""
        return str(self.record.params.get("weights", "none"))

    @property
    def duration(self) -> float | None:
        """Seconds of all phases together; None where no timing was kept."""
        return sum(self.seconds.values()) if self.seconds else None


def stage(step: str, kind: str, name: str) -> str:
    """What `dvc.yaml` calls a step of a run, such as `train@NAME` or `train-scratch@NAME`."""
    return f"{step}@{name}" if kind == "transfer" else f"{step}-{kind}@{name}"


def read_trained(system: Path, name: str, kind: str, history: Sequence[str]) -> dict[str, Any]:
    """Read the fields of `Trained`; history: columns that there must be. Raises UserError for what is missing."""
    folder, train, tune = system / "models" / name, stage("train", kind, name), stage("tune", kind, name)
    timing, champion = folder / "timing.json", read_champion(system)
    record = read_json(folder / "record.json", Record, train)
    return {
        "name": name,
        "record": record,
        "history": read_table(folder / "history.csv", history, train),
        "trials": read_optional_table(folder / "trials.csv", TRIALS, tune),
        "tuned": read_yaml(folder / "tuned.yaml", tune),
        "seconds": read_json(timing, Timing, train).seconds if timing.exists() else {},
        "champion": champion is not None and (champion.run, champion.key) == (name, record.key),
    }
