"""Examples that are read batch by batch: a thread reads ahead while the network trains."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.prefetch import prefetch
from lamina.training.history import Sums

if TYPE_CHECKING:
    from lamina.training.trainers import Trainer


class BatchExamples(ABC):
    """The rows of a fold. Subclasses say how many there are, and what a step gets of some of them."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, rows: np.ndarray) -> tuple[Any, Any]:
        """Return inputs and targets of some rows."""

    def train_epoch(self, trainer: "Trainer", order: np.ndarray, batch_size: int) -> Sums:
        """Train on all rows, in the given order."""
        return self._over(trainer.train_step, order, batch_size)

    def evaluate(self, trainer: "Trainer", batch_size: int) -> Sums:
        """Evaluate all rows without training."""
        return self._over(trainer.eval_step, np.arange(len(self)), batch_size)

    def _over(self, step: Callable[..., tuple[object, object]], order: np.ndarray, batch_size: int) -> Sums:
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return _total([step(*pair) for pair in prefetch(map(self._read, batches))])


def _total(sums: Iterable[tuple[object, object]]) -> Sums:
    pairs = np.array([(float(loss), float(measured)) for loss, measured in sums])  # type: ignore[arg-type]
    return float(pairs[:, 0].sum()), float(pairs[:, 1].sum())
