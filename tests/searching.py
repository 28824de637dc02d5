"""A search whose outcome is known, for tests; as a process of its own `python searching.py RUN FOLDER TRIALS PAUSE`."""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lamina.config import section
from lamina.stages import entry
from lamina.tasks.runs import read_run
from lamina.training.learner import TrainingOptions
from lamina.training.settings import GradientNumbers, Hyperparameters, RunSettings
from lamina.tuning import storages
from lamina.tuning.places import place_of
from lamina.tuning.search import TuneConfig, search
from lamina.tuning.studies import resume

EPOCHS = 20
GRACE = 6  # seconds: a busy machine may leave a process without its turn for some
OPEN = {"learning_rate": "tune", "dropout": "tune", "decay": 0.001}
RUN = {"task": "classify", "input": "pixels", "network": "small_cnn", "epochs": EPOCHS, "batch_size": 8, **OPEN}
RANGES = {"learning_rate": [1e-5, 1e-1], "dropout": [0.0, 0.7], "decay": [1e-5, 1e-2]}
IDENTITY = {"tune": RANGES, "data": "abc"}


@dataclass
class Hill:
    """A learner that learns best at a rate of 0.01: the accuracy grows towards a limit that the numbers decide.

    pause: seconds of an epoch. on_begin: called with the numbers of each trial. on_epoch: before each epoch.
    """

    pause: float = 0.0
    on_begin: Callable[[GradientNumbers], None] = lambda numbers: None
    on_epoch: Callable[[], None] = lambda: None
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def settings(self) -> RunSettings:
        return read_run({"runs": {"hill": RUN}}, "hill").settings

    def learn(self, numbers: GradientNumbers, options: TrainingOptions) -> "Hill":
        self.on_begin(numbers)
        self.history = []
        limit = 0.9 - 0.2 * abs(math.log10(numbers.learning_rate) + 2) / 3 - 0.01 * numbers.dropout
        for epoch in range(1, (options.epochs or 0) + 1):
            time.sleep(self.pause)
            self.on_epoch()
            self.history.append({"epoch": epoch, "validation_accuracy": limit * (1 - 0.5**epoch)})
            options.on_epoch(self.history[-1])
        return self


def config(trials: int, **changes: Any) -> TuneConfig:
    """Return a section `tune`."""
    return section({"tune": {"trials": trials, "epochs": EPOCHS, **RANGES, **changes}}, "tune", TuneConfig)


def searched(
    folder: Path, trials: int, learner: Hill, *, name: str = "hill", identity: dict[str, Any] = IDENTITY, **changes: Any
) -> tuple[Hyperparameters, pd.DataFrame]:
    """Search in a study of `folder`, or where the environment says."""
    place = dataclasses.replace(place_of(name, "tests", identity, folder, "maximize"), grace=GRACE)
    resume(place)
    numbers, _, trials = search(learner, config(trials, **changes), place, measure="accuracy", name=name, seed=7)
    return numbers, trials


def main() -> None:
    name, folder, trials, pause = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    storages.PATIENCE = 4.0
    begun = folder / f"begun-{sys.argv[5]}.txt"

    def note(numbers: GradientNumbers) -> None:
        with begun.open("a") as file:
            file.write(json.dumps([numbers.learning_rate, numbers.dropout]) + "\n")

    # a busy machine loads one worker in a second and the other in ten: they begin together
    import optuna  # noqa: F401
    import sqlalchemy  # noqa: F401

    (folder / f"ready-{sys.argv[5]}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    found = partial(searched, folder, trials, Hill(pause, note), name=name)
    _, trials_table = found()
    trials_table.to_csv(folder / f"trials-{sys.argv[5]}.csv", index=False)


if __name__ == "__main__":
    entry.run(main)
