"""What networks learn from: features held in memory, or pictures read and warped batch by batch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lamina.ahead import ahead
from lamina.data.rows import Rows
from lamina.learn.fit import Sums, Trainer
from lamina.models.keras_runtime import tf

JUDGED_AT_ONCE = 4096  # rows of features; they are small


@dataclass(frozen=True)
class FeatureExamples:
    """Features, (n, width) float16, and class numbers, (n,) int32, resident for whole-epoch calls."""

    features: tf.Tensor
    labels: tf.Tensor

    def __len__(self) -> int:
        return int(self.features.shape[0])

    def learn(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> Sums:
        loss, right = trainer.learn_all(self.features, self.labels, tf.constant(order), tf.constant(batch_size))
        return float(loss), float(right)

    def judge(self, trainer: Trainer, batch_size: int) -> Sums:
        blocks = [slice(start, start + JUDGED_AT_ONCE) for start in range(0, len(self), JUDGED_AT_ONCE)]
        sums = [trainer.judge(tf.cast(self.features[block], tf.float32), self.labels[block]) for block in blocks]
        return _total(sums)


@dataclass(frozen=True)
class PictureExamples:
    """Pictures by row, and their class numbers, (n,) int32; a thread reads ahead while the network works."""

    rows: Rows
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def learn(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> Sums:
        return self._over(trainer.learn, order, batch_size)

    def judge(self, trainer: Trainer, batch_size: int) -> Sums:
        return self._over(trainer.judge, np.arange(len(self)), batch_size)

    def _over(self, step: Callable[..., tuple[object, object]], order: np.ndarray, batch_size: int) -> Sums:
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        pixels = ahead(map(self.rows.read, batches))
        return _total(step(tf.cast(x, tf.float32), self.labels[rows]) for rows, x in zip(batches, pixels, strict=True))


def _total(sums: Iterable[tuple[object, object]]) -> Sums:
    pairs = np.array([(float(loss), float(right)) for loss, right in sums])  # type: ignore[arg-type]
    return float(pairs[:, 0].sum()), float(pairs[:, 1].sum())
