"""What a learner has whose network predicts a picture: some channels of CIELAB at every pixel. No labels."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Rows
from lamina.errors import UserError
from lamina.files import json_digest
from lamina.maths.color import LabPixels
from lamina.models.layers import compute_in
from lamina.training.learner import NetworkLearner
from lamina.training.settings import GradientNumbers, GradientSettings, weights_identity

if TYPE_CHECKING:
    from lamina.training.picture_trainer import PictureTrainer

FIRST_OUTPUTS_OF: Final = 16  # training pictures whose first outputs show how large they are
_CHUNK: Final = 256


@dataclass(frozen=True, kw_only=True)
class PictureLearner(NetworkLearner):
    """How a network learns some channels of CIELAB.

    Attributes:
        manifest: the rows of the folds.
        side: of the maps that the network predicts, in pixels.
        rare: (bins,) weight of a pixel of each color bin, for the loss `rebalanced`.
    """

    manifest: pd.DataFrame
    side: int
    rare: np.ndarray | None = None

    def trainer(self, network: Any, numbers: GradientNumbers) -> "PictureTrainer":
        from lamina.training.picture_trainer import PictureTrainer

        return PictureTrainer(network, numbers, tail=self.tail(), rare=self.rare, ema_decay=self.settings.ema_decay)

    @abstractmethod
    def tail(self) -> Any:
        """Return the model that turns the network's outputs into CIELAB units at the pictures' own side."""


def to_float32(network: Any) -> Any:
    """Return the network, changed in place as it is saved: it computes in float32, so that it runs everywhere."""
    compute_in(network, "float32")
    return network


def with_weights(digest: str, settings: GradientSettings) -> str:
    """Return the digest of the data, and of the file of weights that the run starts from, if there is one."""
    return json_digest([digest, weights_identity(settings.weights)]) if settings.starts_from_file else digest


def rows_of_fold(manifest: pd.DataFrame, fold: str, *, originals: bool = False) -> pd.DataFrame:
    """Return the rows of a fold, without copies where `originals`; raises UserError where there is none."""
    rows = manifest[(manifest["fold"] == fold) & ((manifest["copy"] == 0) | (not originals))]
    if not len(rows):
        raise UserError(f"no picture in the fold {fold}; add pictures, or look at split and filter")
    return rows


def mean_lab(rows: Rows) -> np.ndarray:
    """Return (3,) float64: mean L, a and b over all pixels of some rows, in CIELAB units."""
    sums = sum(lab.sum(axis=(0, 1, 2), dtype=np.int64) for lab in chunks(rows, len(rows)))
    return np.asarray(sums) / (len(rows) * rows.size**2) / 100


def chunks(rows: Rows, most: int) -> Iterator[LabPixels]:
    """Yield the CIELAB of rows, some at a time; evenly chosen rows where there are more than `most`."""
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return (rows.read_lab(chosen[at : at + _CHUNK]) for at in range(0, len(chosen), _CHUNK))
