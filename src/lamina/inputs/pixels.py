"""Pictures as an input: read and augmented batch by batch while the network trains."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from lamina.data.rows import Rows
from lamina.inputs.batches import BatchExamples
from lamina.inputs.mixing import Mixing
from lamina.maths.color import RgbPixels
from lamina.prefetch import prefetch

PICTURES_AT_ONCE: Final = 64
_STAGES: Final = 4  # of progressive resizing


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
        side: in pixels, that the pictures are scaled down to; None: their own.
    """

    labels: np.ndarray
    mixing: Mixing | None = None
    draw: tuple[int, int] = (0, 0)
    side: int | None = None

    def predict(self, network: Any) -> np.ndarray:
        """Return a network's class probabilities for all rows, (n, classes)."""
        from lamina.models.inference import inference

        return np.concatenate([*map(inference(network), prefetch(self.rows.batches(PICTURES_AT_ONCE)))])

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self._scaled(self.rows.read(rows)).astype(np.float32), self.labels[rows]
        if self.mixing is None:
            return pixels, labels
        return self.mixing.apply(pixels, labels, np.random.default_rng([*self.draw, int(rows[0])]))

    def _scaled(self, rgb: RgbPixels) -> RgbPixels:
        if self.side in (None, self.rows.size):
            return rgb
        return np.stack([cv2.resize(one, (self.side, self.side), interpolation=cv2.INTER_AREA) for one in rgb])


def growing_side(first: int, full: int, epoch: int, epochs: int) -> int:
    """Return the side in pixels of the pictures of an epoch (from 1) of progressive resizing.

    The epochs are up to four equal stages: the first has the side `first`, the last the side `full`, in equal steps.

    Source:
        M. Tan, Q. Le, EfficientNetV2, ICML 2021, section 4.2.
    """
    steps = min(_STAGES, epochs) - 1
    return first + round((full - first) * ((steps + 1) * (epoch - 1) // epochs) / steps) if steps else full
