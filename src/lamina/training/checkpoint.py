"""Checkpoints: an interrupted training continues after the last saved epoch, a longer head after a shorter one.

Comparing numbers of epochs of a head then costs as much as the longest run.
"""

import json
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lamina.errors import UserError
from lamina.files import discard, staged
from lamina.training.history import EpochRow

HEADS: Final = Path(".lamina/heads")  # in a system's folder, out of reach of DVC
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


@dataclass(frozen=True, kw_only=True)
class HeadCache:
    """The last state of every run's head, `RUN@KEY.npz` in `folder`; it may be deleted at any time.

    Attributes:
        name: Of the run that learns.
        folder: Of the cache.
    """

    name: str
    folder: Path = HEADS

    def load(self, key: str, epochs: int) -> State | None:
        """Return the longest state of this key with fewer than `epochs` epochs, or None.

        A state with as many epochs is not used: a stage that runs again shall train again.
        """
        found = [(path, state) for path in sorted(self.folder.glob(f"*@{key}.npz")) if (state := _read(path))]
        fitting = [(path, state) for path, state in found if len(state.history) < epochs]
        if not fitting:
            return None
        path, state = max(fitting, key=lambda one: len(one[1].history))
        count, source = len(state.history), path.name.rpartition("@")[0]
        print(f"{self.name}: the first {count} of {epochs} epochs are taken over from {source}", file=sys.stderr)
        return state

    def save(self, key: str, state: State) -> None:
        """Save a state under this key, and delete the run's other states."""
        path = self.folder / f"{self.name}@{key}.npz"
        checkpoint = Checkpoint(path)
        checkpoint.keep(state)
        checkpoint.flush()
        for other in self.folder.glob(f"{self.name}@*.npz"):
            if other != path:
                discard(other)


def _read(path: Path) -> State | None:
    """Read a state; None if the file is broken."""
    try:
        return Checkpoint(path).load()
    except UserError:
        return None
