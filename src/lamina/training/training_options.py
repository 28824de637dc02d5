"""Options of one training call that are not settings of the run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lamina.training.checkpoint import Checkpoint
from lamina.training.head_cache import HeadCache
from lamina.training.history import EpochRow


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How one training goes: tuning, the stage `train` and `assess` each set their own.

    Attributes:
        epochs: how many; None: as many as the run's settings say.
        on_epoch: called with each epoch's row. What it raises ends the training.
        what: name of the training in its progress.
        checkpoint: where training from pixels resumes from and saves to.
        on_network: called with the epoch and the network after each epoch of training from pixels.
        head_cache: where the training of a head resumes from, and leaves its state. It takes seconds and uses neither
            of the two above.
    """

    epochs: int | None = None
    on_epoch: Callable[[EpochRow], None] = lambda row: None
    what: str = "train"
    checkpoint: Checkpoint | None = None
    on_network: Callable[[int, Any], None] | None = None
    head_cache: HeadCache | None = None


DEFAULT_OPTIONS: Final = TrainingOptions()
