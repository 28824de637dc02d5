"""Pictures as an input: read and augmented batch by batch while the network trains."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.rows import Rows
from lamina.inputs.batches import BatchExamples
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
    """Pictures as pixels, and their class numbers, (n,) int32."""

    labels: np.ndarray

    def predict(self, network: Any) -> np.ndarray:
        """Return a network's class probabilities for all rows, (n, classes)."""
        from lamina.models.inference import inference

        return np.concatenate([*map(inference(network), prefetch(self.rows.batches(PICTURES_AT_ONCE)))])

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.rows.read(rows).astype(np.float32), self.labels[rows]
