"""Pictures in two parts, lightness and color: one is the input, the other the target."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lamina.inputs.pixels import PICTURES_AT_ONCE, RowExamples
from lamina.maths.bins import soft_encode
from lamina.maths.color import LabPixels
from lamina.models.chroma import SPREAD
from lamina.prefetch import prefetch


@dataclass(frozen=True)
class ColorExamples(RowExamples):
    """Pictures as lightness, with their colors as targets.

    Attributes:
        bins_at: Side in pixels of the maps of color bins, an additional target; None: no such target.
    """

    bins_at: int | None = None

    def predict_batches(self, network: Any) -> Iterator[tuple[LabPixels, np.ndarray]]:
        """Yield batches of all rows in order: the true pictures, and a network's a and b for them."""
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
    """Return (n, S, S, 1) float32 L, 0 to 100, of (n, S, S, 3) int16 CIELAB x 100."""
    return lab[..., :1].astype(np.float32) / 100


@dataclass(frozen=True)
class LightnessExamples(RowExamples):
    """Pictures as color without lightness, with their lightness as target."""

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lab = self.rows.read_lab(rows)
        return chroma(lab), lightness(lab)


def chroma(lab: LabPixels) -> np.ndarray:
    """Return color without lightness, like `lamina.models.chroma` for RGB: (n, S, S, 3) float32.

    Args:
        lab: (n, S, S, 3) int16 CIELAB x 100.
    """
    found = np.zeros(lab.shape, np.float32)
    found[..., :2] = lab[..., 1:] / np.float32(100 * SPREAD)
    return found
