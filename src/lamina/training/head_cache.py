"""What heads learned before: of runs that differ in their epochs alone, the longer goes on where the shorter ended.

A comparison of epoch counts then costs as much as the longest; and a head that was interrupted goes on.
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
    """The last state of every run's head, `RUN@KEY.npz` in `folder`; it may be removed at any time.

    name: of the run that learns.
    """

    name: str
    folder: Path = HEADS

    def load(self, key: str, epochs: int) -> State | None:
        """What a run learned under this key that is furthest, of those that stopped short of `epochs`; None: none did.

        As many epochs are not taken over: whoever has a stage run again wants to see it learn again.
        """
        found = [(path, state) for path in sorted(self.folder.glob(f"*@{key}.npz")) if (state := _read(path))]
        fitting = [(path, state) for path, state in found if len(state.history) < epochs]
        if not fitting:
            return None
        path, state = max(fitting, key=lambda one: len(one[1].history))
        count, whose = len(state.history), path.name.rpartition("@")[0]
        print(f"{self.name}: the first {count} of {epochs} epochs are those of {whose}: taken over", file=sys.stderr)
        return state

    def save(self, key: str, state: State) -> None:
        """Keep a state under this key, in the place of what the run left before."""
        path = self.folder / f"{self.name}@{key}.npz"
        checkpoint = Checkpoint(path)
        checkpoint.keep(state)
        checkpoint.flush()
        for other in self.folder.glob(f"{self.name}@*.npz"):
            if other != path:
                discard(other)


def _read(path: Path) -> State | None:
    """The state in a file; one that is broken is of no use, and no harm."""
    try:
        return Checkpoint(path).load()
    except UserError:
        return None
