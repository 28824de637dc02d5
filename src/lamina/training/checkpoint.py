"""Where a training stands, on disk: a training that was killed goes on with the epoch after the last one saved."""

import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lamina.errors import UserError
from lamina.files import staged
from lamina.training.history import EpochRow

_SHARE: Final = 0.05  # of the time that training takes, at most, goes into saving


@dataclass(frozen=True, kw_only=True)
class State:
    """All that decides how a training goes on.

    history: a row per epoch that ended; variables: of the network (seeds of its dropout included), of the optimiser
    and of the averages; best: the weights to keep so far, none where those are the last.
    """

    history: list[EpochRow]
    variables: list[np.ndarray]
    best: list[np.ndarray]


class Checkpoint:
    """A file `.npz` that holds a training's latest state, whole or not at all, and nothing that is executed.

    An epoch's state is written where enough time has gone by since the last writing for that to stay below 5 % of the
    training; else it waits in memory for the next epoch, or for `flush`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: State | None = None
        self._written = time.monotonic()
        self._cost = 0.0

    def load(self) -> State | None:
        """What was saved last; None where nothing was. Raises UserError where the file is broken."""
        if not self.path.exists():
            return None
        try:
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                history = json.loads(str(file["history"]))
                return State(history=history, variables=_listed(file, "variable"), best=_listed(file, "best"))
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{self.path}: not a training's state ({said}); delete it and run again") from None

    def keep(self, state: State) -> None:
        """Take an epoch's state, and write it now or later."""
        self._waiting = state
        if (time.monotonic() - self._written) * _SHARE >= self._cost:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self._waiting is None:
            return
        state, self._waiting = self._waiting, None
        start = time.monotonic()
        arrays = {f"variable/{place}": array for place, array in enumerate(state.variables)}
        arrays |= {f"best/{place}": array for place, array in enumerate(state.best)}
        with staged(self.path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, history=np.array(json.dumps(state.history)), **arrays)
        self._written = time.monotonic()
        self._cost = self._written - start


def _listed(file: "np.lib.npyio.NpzFile", kind: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{kind}/") for name in file.files)
    return [file[f"{kind}/{place}"] for place in range(count)]
