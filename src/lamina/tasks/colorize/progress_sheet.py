"""A sheet of pictures as a colorizer colors them after more and more epochs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from lamina.data.rows import Rows
from lamina.data.sheets import contact_sheet
from lamina.files import staged
from lamina.inputs.lightness import lightness
from lamina.maths.color import LabPixels, RgbPixels, lab_to_srgb
from lamina.tasks.colorize.network import colorizer_of

PICTURES: Final = 10
_NO_COLOR: Final = np.zeros(2, np.float32)


@dataclass(frozen=True, kw_only=True)
class ColorSheet:
    """Pictures and their predicted colors after the epochs 1, 2, 4, 8, ...

    Attributes:
        lab: (n, S, S, 3) int16 CIELAB x 100.
        tail: Turns the network's numbers into colors.
        folder: Keeps the strips of epochs, so that the sheet of an interrupted training is complete.
    """

    lab: LabPixels
    tail: Any
    folder: Path

    def on_network(self, epoch: int, network: Any) -> None:
        """Color the pictures after an epoch, if it is a power of 2."""
        if epoch & (epoch - 1):
            return
        colors = self.tail(network(lightness(self.lab), training=False)).numpy()
        strip = Image.fromarray(np.concatenate(list(colored(self.lab, colors)), axis=1))
        with staged(self._strip(epoch)) as part:
            strip.save(part, format="PNG")

    def strip(self, epoch: int) -> Image.Image | None:
        """Return the colored pictures of an epoch, side by side; None if there are none."""
        kept = self._strip(epoch)
        return Image.fromarray(_read(kept)) if kept.exists() else None

    def sheet(self, network: Any, epochs: int) -> Image.Image:
        """Draw the pictures in grey, after some of the epochs, by the saved model, and in true color.

        Args:
            network: The saved model.
            epochs: Of the training.
        """
        kept = [epoch for epoch in range(1, epochs) if self._strip(epoch).exists()]
        rows = [np.split(_read(self._strip(epoch)), len(self.lab), axis=1) for epoch in kept]
        grey = list(colored(self.lab, np.broadcast_to(_NO_COLOR, (*self.lab.shape[:3], 2))))
        end = list(colored(self.lab, colorizer_of(network)(lightness(self.lab), training=False).numpy()))
        names = ["grey", *(f"epoch {epoch}" for epoch in kept), "learned", "true"]
        return contact_sheet([grey, *rows, end, list(lab_to_srgb(self.lab))], names)

    def _strip(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04}.png"


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as strip:
        return np.asarray(strip)


def evenly_chosen(rows: Rows, most: int = PICTURES) -> LabPixels:
    """Return CIELAB of at most `most` rows, evenly chosen."""
    return rows.read_lab(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))


def colored(lab: LabPixels, colors: np.ndarray) -> RgbPixels:
    """Give pictures other colors; their lightness stays, as far as sRGB allows.

    Args:
        lab: (n, S, S, 3) int16 CIELAB x 100.
        colors: (n, S, S, 2) a and b in CIELAB units.

    Returns:
        (n, S, S, 3) uint8 RGB.
    """
    ab = np.clip(np.rint(colors * 100), -12_800, 12_700).astype(np.int16)
    return lab_to_srgb(np.concatenate([lab[..., :1], ab], axis=-1))
