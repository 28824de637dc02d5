"""What colorizers learn from: lightness and colors, read and turned batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lamina.inputs.pixels import PICTURES_AT_ONCE, RowExamples
from lamina.maths.bins import soft_encode
from lamina.maths.color import LabPixels
from lamina.prefetch import prefetch


@dataclass(frozen=True)
class ColorExamples(RowExamples):
    """Pictures as lightness, and their colors.

    bins_at: the side at which the bins of colors are told beside the colors themselves; None: they are not.
    """

    bins_at: int | None = None

    def answers(self, network: Any) -> np.ndarray:
        """The a and b that a network gives all rows, (n, S, S, 2) float32."""
        return np.concatenate([colors for _, colors in self.answered(network)])

    def answered(self, network: Any) -> Iterator[tuple[LabPixels, np.ndarray]]:
        """Batches of all rows in order: the true pictures, and the a and b that a network gives them."""
        batches = prefetch(self.rows.lab_batches(PICTURES_AT_ONCE))
        return ((lab, network(lightness(lab), training=False).numpy()) for lab in batches)

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
