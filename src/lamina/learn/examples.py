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
class PictureExamples:
    """Pictures by row, and their class numbers, (n,) int32; a thread reads ahead while the network works."""

    rows: Rows
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def learn(self, trainer: "Trainer", order: np.ndarray, batch_size: int) -> Sums:
        return self._over(trainer.learn, order, batch_size)

    def judge(self, trainer: "Trainer", batch_size: int) -> Sums:
        return self._over(trainer.judge, np.arange(len(self)), batch_size)

    def answers(self, network: Any) -> np.ndarray:
        """What a network says of all rows, (n, classes) probabilities."""
        from lamina.models.keras_runtime import tf

        answer = tf.function(lambda pixels: network(pixels, training=False), autograph=False, reduce_retracing=True)
        batches = ahead(self.rows.batches(PICTURES_AT_ONCE))
        return np.concatenate([answer(tf.cast(pixels, tf.float32)).numpy() for pixels in batches])

    def _over(self, step: Callable[..., tuple[object, object]], order: np.ndarray, batch_size: int) -> Sums:
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        pixels = ahead(map(self.rows.read, batches))
        steps = zip(batches, pixels, strict=True)
        return total([step(x.astype(np.float32), self.labels[rows]) for rows, x in steps])


def total(sums: Iterable[tuple[object, object]]) -> Sums:
    """Sum up what steps returned."""
    pairs = np.array([(float(loss), float(right)) for loss, right in sums])  # type: ignore[arg-type]
    return float(pairs[:, 0].sum()), float(pairs[:, 1].sum())
