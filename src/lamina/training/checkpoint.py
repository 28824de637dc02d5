"""Checkpoints: an interrupted training continues after the last saved epoch."""

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

_SHARE: Final = 0.05  # largest share of the training time that is spent on saving


@dataclass(frozen=True, kw_only=True)
class State:
    """The complete state of a training run.

    Attributes:
        history: a row for each finished epoch.
        variables: of the network (with the seeds of dropout), the optimizer and the moving averages.
        best: the best weights so far; empty if the last weights are kept.
    """

    history: list[EpochRow]
    variables: list[np.ndarray]
    best: list[np.ndarray]


class Checkpoint:
    """A file `.npz` with the latest state of a training run; it is written atomically and holds no code.

    To spend at most 5 % of the time on writing, an epoch's state may stay in memory until a later epoch or `flush`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: State | None = None
        self._written = time.monotonic()
        self._cost = 0.0

    def load(self) -> State | None:
        """Return the saved state, or None if there is no file.

        Raises:
            UserError: if the file is broken.
        """
        if not self.path.exists():
            return None
        try:
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                history = json.loads(str(file["history"]))
                return State(history=history, variables=_arrays(file, "variable"), best=_arrays(file, "best"))
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{self.path}: not a training state ({reason}); delete it and run again") from None

    def keep(self, state: State) -> None:
        """Take the state of an epoch; write it now or later."""
        self._pending = state
        if (time.monotonic() - self._written) * _SHARE >= self._cost:
            self.flush()

    def flush(self) -> None:
        """Write the state that is still in memory, if any."""
        if self._pending is None:
            return
        state, self._pending = self._pending, None
        start = time.monotonic()
        arrays = {f"variable/{index}": array for index, array in enumerate(state.variables)}
        arrays |= {f"best/{index}": array for index, array in enumerate(state.best)}
        with staged(self.path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, history=np.array(json.dumps(state.history)), **arrays)
        self._written = time.monotonic()
        self._cost = self._written - start


def _arrays(file: "np.lib.npyio.NpzFile", kind: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{kind}/") for name in file.files)
    return [file[f"{kind}/{index}"] for index in range(count)]
