"""Cache of head states: a longer run continues from the end of a shorter, otherwise identical one.

Comparing numbers of epochs then costs as much as the longest run. An interrupted head continues, too.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lamina.errors import UserError
from lamina.files import discard
from lamina.training.checkpoint import Checkpoint, State

HEADS: Final = Path(".lamina/heads")  # in a system's folder, out of reach of DVC


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
