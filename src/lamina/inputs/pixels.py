"""Pictures as an input: read and augmented batch by batch while the network trains."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.rows import Rows
from lamina.inputs.batches import BatchExamples
from lamina.inputs.mixing import Mixing
from lamina.prefetch import prefetch

PICTURES_AT_ONCE = 64


@dataclass(frozen=True)
class RowExamples(BatchExamples):
    """Pictures by row of a manifest. Subclasses define what is read."""

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class PictureExamples(RowExamples):
    """Pictures as pixels, and their class numbers, (n,) int32.

    Attributes:
        mixing: how batches are mixed, if they are; their targets are probabilities then, (n, classes).
        draw: seed and epoch, which decide the draws of mixing.
    """

    labels: np.ndarray
    mixing: Mixing | None = None
    draw: tuple[int, int] = (0, 0)

    def predict(self, network: Any) -> np.ndarray:
        """Return a network's class probabilities for all rows, (n, classes)."""
        from lamina.models.inference import inference

        return np.concatenate([*map(inference(network), prefetch(self.rows.batches(PICTURES_AT_ONCE)))])

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self.rows.read(rows).astype(np.float32), self.labels[rows]
        if self.mixing is None:
            return pixels, labels
        return self.mixing.apply(pixels, labels, np.random.default_rng([*self.draw, int(rows[0])]))
