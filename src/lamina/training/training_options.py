"""How a training goes, whoever trains: tuning, the stage `train`, `assess`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lamina.training.checkpoint import Checkpoint
from lamina.training.head_cache import HeadCache
from lamina.training.history import EpochRow


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a training goes, beside what the run says: for how long, from where, and who hears of it.

    epochs: None for as many as the run says. on_epoch: hears of each epoch's row; what it raises ends the training.
    what: name of it, in its progress. checkpoint: where training from pixels goes on from, and saves to. look: is shown
    the network after each epoch from pixels. head_cache: where a head goes on from, and leaves what it learned; it takes
    seconds, and uses neither of the two.
    """

    epochs: int | None = None
    on_epoch: Callable[[EpochRow], None] = lambda row: None
    what: str = "train"
    checkpoint: Checkpoint | None = None
    look: Callable[[int, Any], None] | None = None
    head_cache: HeadCache | None = None


DEFAULT_OPTIONS: Final = TrainingOptions()
