"""What a learner has whose network predicts a picture: some channels of CIELAB at every pixel. No labels."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pandas as pd

from lamina.data.rows import Rows, open_rows
from lamina.errors import UserError
from lamina.files import json_digest
from lamina.maths.color import LabPixels
from lamina.results.record import note_convention
from lamina.tasks.pixels_learner import PixelsLearner
from lamina.training.learner import Setup
from lamina.training.settings import GradientNumbers, GradientSettings, Recipe, weights_identity

if TYPE_CHECKING:
    from lamina.training.picture_trainer import PictureTrainer

FIRST_OUTPUTS_OF: Final = 16  # training pictures whose first outputs show how large they are
_CHUNK: Final = 256


@dataclass(frozen=True, kw_only=True)
class PictureLearner(PixelsLearner):
    """How a network learns some channels of CIELAB. originals: of the training fold."""

    settings: GradientSettings
    originals: Rows

    @classmethod
    def opened(cls, setup: Setup) -> Self:
        """Open a learner, and note where its weights were trained with another `preprocess`.

        Raises:
            UserError: if there is no picture to train with.
        """
        settings: Any = setup.settings
        note_convention(settings.weights, settings.preprocess)
        originals = open_rows(rows_of_fold(setup.manifest, "train", originals=True), setup.folders)
        return cls(**vars(setup), originals=originals)

    @cached_property
    def data_digest(self) -> str:
        """SHA-256 of pixels and split, and of the file of weights that the run starts from, if there is one."""
        digest, settings = super().data_digest, self.settings
        return json_digest([digest, weights_identity(settings.weights)]) if settings.starts_from_file else digest

    @property
    @abstractmethod
    def side(self) -> int:
        """Side of the maps that the network predicts, in pixels."""

    @property
    def rare(self) -> np.ndarray | None:
        """Weight of a pixel of each color bin, (bins,), for the loss `rebalanced`; None for the others."""
        return None

    def rows(self, fold: str) -> Rows:
        """Open the pictures of a fold; raises UserError where there is none."""
        return open_rows(rows_of_fold(self.manifest, fold), self.folders)

    def trainer(self, network: Any, numbers: GradientNumbers, recipe: Recipe, steps: int) -> "PictureTrainer":
        from lamina.training.picture_trainer import PictureTrainer

        return PictureTrainer(
            network,
            numbers,
            recipe=recipe,
            steps=steps,
            tail=self.tail(),
            rare=self.rare,
            ema_decay=self.settings.ema_decay,
        )

    @abstractmethod
    def tail(self) -> Any:
        """Return the model that turns the network's outputs into CIELAB units at the pictures' own side."""


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
