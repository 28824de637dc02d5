"""What colorizers learn from: lightness and colors, read and turned batch by batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from lamina.ahead import ahead
from lamina.data.rows import Rows
from lamina.learn.examples import total
from lamina.learn.history import Sums
from lamina.maths.bins import soft_encode

if TYPE_CHECKING:
    from lamina.learn.trainers import Trainer

PICTURES_AT_ONCE: Final = 64


@dataclass(frozen=True)
class ColorExamples:
    """Pictures by row; a thread reads ahead while the network works.

    bins_at: the side at which the bins of colors are told beside the colors themselves; None: they are not.
    """

    rows: Rows
    bins_at: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def learn(self, trainer: "Trainer", order: np.ndarray, batch_size: int) -> Sums:
        return self._over(trainer.learn, order, batch_size)

    def judge(self, trainer: "Trainer", batch_size: int) -> Sums:
        return self._over(trainer.judge, np.arange(len(self)), batch_size)

    def answers(self, network: Any) -> np.ndarray:
        """The a and b that a network gives all rows, (n, S, S, 2) float32."""
        every = [np.arange(at, min(at + PICTURES_AT_ONCE, len(self))) for at in range(0, len(self), PICTURES_AT_ONCE)]
        batches = ahead(map(self.rows.read_lab, every))
        return np.concatenate([network(lightness(lab), training=False).numpy() for lab in batches])

    def _over(self, step: Callable[..., tuple[object, object]], order: np.ndarray, batch_size: int) -> Sums:
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return total([step(*pair) for pair in ahead(map(self._read, batches))])

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        lab = self.rows.read_lab(rows)
        colors = lab[..., 1:].astype(np.float32) / 100
        if self.bins_at is None:
            return lightness(lab), colors
        side = (self.bins_at, self.bins_at)
        coarse = np.stack([cv2.resize(picture, side, interpolation=cv2.INTER_AREA) for picture in colors])
        return lightness(lab), (colors, *soft_encode(coarse))


def lightness(lab: np.ndarray) -> np.ndarray:
    """What colorizers are given: (n, S, S, 1) float32 L in 0..100. lab: (n, S, S, 3) int16 CIELAB x 100."""
    return lab[..., :1].astype(np.float32) / 100
