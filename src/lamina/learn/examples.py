"""What networks learn from: features held in memory, or pictures read and warped batch by batch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.ahead import ahead
from lamina.data.rows import Rows
from lamina.learn.history import Sums

if TYPE_CHECKING:
    from lamina.learn.trainers import Trainer

PICTURES_AT_ONCE = 64


@dataclass(frozen=True)
class FeatureExamples:
    """Features, (n, width) float16, and class numbers, (n,) int32, in memory: heads learn from them as they are."""

    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class RowExamples:
    """Pictures by row; a thread reads ahead while the network works. Subclasses say what is read of them."""

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def learn(self, trainer: "Trainer", order: np.ndarray, batch_size: int) -> Sums:
        return self._over(trainer.learn, order, batch_size)

    def judge(self, trainer: "Trainer", batch_size: int) -> Sums:
        return self._over(trainer.judge, np.arange(len(self)), batch_size)

    def _read(self, rows: np.ndarray) -> tuple[Any, Any]:
        """What a step is given of some rows: inputs and targets."""
        raise NotImplementedError

    def _over(self, step: Callable[..., tuple[object, object]], order: np.ndarray, batch_size: int) -> Sums:
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return _total([step(*pair) for pair in ahead(map(self._read, batches))])


@dataclass(frozen=True)
class PictureExamples(RowExamples):
    """Pictures as pixels, and their class numbers, (n,) int32."""

    labels: np.ndarray

    def answers(self, network: Any) -> np.ndarray:
        """What a network says of all rows, (n, classes) probabilities."""
        from lamina.models.asking import asking

        return np.concatenate([*map(asking(network), ahead(self.rows.batches(PICTURES_AT_ONCE)))])

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.rows.read(rows).astype(np.float32), self.labels[rows]


def _total(sums: Iterable[tuple[object, object]]) -> Sums:
    pairs = np.array([(float(loss), float(measured)) for loss, measured in sums])  # type: ignore[arg-type]
    return float(pairs[:, 0].sum()), float(pairs[:, 1].sum())
