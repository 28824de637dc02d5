"""What a network learns that answers with a picture, whichever of its channels are asked for. No label is looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Rows
from lamina.errors import UserError
from lamina.files import file_digest, json_digest
from lamina.maths.color import LabPixels
from lamina.models.backbones import GIVEN_WEIGHTS
from lamina.models.layers import compute_in
from lamina.tasks.runs import ColorizeRun, PretextRun, Tuned
from lamina.training.learner import Task

if TYPE_CHECKING:
    from lamina.training.picture_trainer import ColorTrainer

LISTENED: Final = 16  # training pictures whose first answers tell how large they are
_CHUNK: Final = 256


@dataclass(frozen=True, kw_only=True)
class PixelTask(Task):
    """How a network learns some channels of CIELAB of every pixel.

    side: at which it predicts them. rare: (bins,) what a pixel of each bin counts, for the loss `rebalanced`.
    """

    run: ColorizeRun | PretextRun
    side: int
    rare: np.ndarray | None = None

    def trainer(self, network: Any, tuned: Tuned) -> "ColorTrainer":
        from lamina.training.picture_trainer import ColorTrainer

        return ColorTrainer(network, tuned, tail=self.tail(), rare=self.rare, ema_decay=self.run.average)

    def tail(self) -> Any:
        """What makes CIELAB units, at the pictures' own side, of the network's numbers."""
        raise NotImplementedError


def to_float32(network: Any) -> Any:
    """The network, in place, as it is saved: computing in float32, so that it runs everywhere."""
    compute_in(network, "float32")
    return network


def started_from(run: ColorizeRun | PretextRun, digest: str) -> str:
    """The digest of the data, and of the file of weights that the run starts from, where there is one."""
    weights = Path(run.weights)
    if run.weights in GIVEN_WEIGHTS or not weights.is_file():  # that it is missing is told where it is read
        return digest
    return json_digest([digest, file_digest(weights)])


def of_fold(manifest: pd.DataFrame, fold: str, *, originals: bool = False) -> pd.DataFrame:
    """The rows of a fold, without copies where `originals`. Raises UserError where there is none."""
    rows = manifest[(manifest["fold"] == fold) & ((manifest["copy"] == 0) | (not originals))]
    if not len(rows):
        raise UserError(f"no picture in the fold {fold}; add pictures, or look at split and filter")
    return rows


def mean_lab(rows: Rows) -> np.ndarray:
    """(3,) float64: mean L, a and b over all pixels of some rows, in CIELAB units."""
    sums = sum(lab.sum(axis=(0, 1, 2), dtype=np.int64) for lab in chunks(rows, len(rows)))
    return np.asarray(sums) / (len(rows) * rows.size**2) / 100


def chunks(rows: Rows, most: int) -> Iterator[LabPixels]:
    """CIELAB of rows, some at a time, evenly chosen where they are more than `most`."""
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return (rows.read_lab(chosen[at : at + _CHUNK]) for at in range(0, len(chosen), _CHUNK))
