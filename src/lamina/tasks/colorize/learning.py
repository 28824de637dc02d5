"""What a run that colorizes learns: from lightness, the a and b of the same picture. No labels."""

from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Rows
from lamina.inputs.lightness import ColorExamples
from lamina.maths.bins import BINS, count_bins, rarity
from lamina.maths.color_scores import squared_errors
from lamina.models.backbones import RANDOM, calibrate
from lamina.models.colorizers import build_colorizer, build_tail, grey, predicted_side, scale_initial_outputs
from lamina.models.layers import compute_in
from lamina.tasks.colorize.network import colorizer_of, final_model
from lamina.tasks.colorize.progress_sheet import ColorSheet, evenly_chosen
from lamina.tasks.colorize.results import summarise
from lamina.tasks.colorize.settings import ColorizeSettings
from lamina.tasks.picture_learner import FIRST_OUTPUTS_OF, PictureLearner, chunks, mean_lab
from lamina.training.learner import Learned, Setup
from lamina.training.settings import GradientNumbers

CALIBRATION_PICTURES: Final = 64
COUNTED: Final = 2_000  # evenly chosen pictures whose colors tell how rare each color is


class ColorLearner(PictureLearner):
    """How a network learns colors."""

    settings: ColorizeSettings

    @cached_property
    def mean_color(self) -> np.ndarray:
        """Mean a and b, (2,), over the pixels of the training originals."""
        return mean_lab(self.originals)[1:]

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | {"mean_color": [round(float(value), 4) for value in self.mean_color]}

    @cached_property
    def side(self) -> int:
        return predicted_side(self.width, self.settings.loss)

    @cached_property
    def rare(self) -> np.ndarray | None:
        return rarity(bin_counts(self.originals)) if self.settings.loss == "rebalanced" else None

    def examples(self, fold: str) -> ColorExamples:
        return ColorExamples(self.rows(fold), None if self.rare is None else self.side)

    def build(self, numbers: GradientNumbers) -> Any:
        settings = self.settings
        network = build_colorizer(
            settings.encoder,
            weights=settings.weights,
            initialize=settings.initialize,
            preprocess=settings.preprocess,
            decoder=settings.decoder,
            side=self.side,
            outputs=2 if self.rare is None else len(self.rare),
            size=self.width,
            dropout=numbers.dropout,
            seed=self.seed,
            frozen=not settings.trainable,
        )
        if not settings.trainable and settings.weights == RANDOM:
            calibrate(network, grey(_lightness(self.originals, CALIBRATION_PICTURES)))
        if settings.initialize == "encoder":
            scale_initial_outputs(network, _lightness(self.originals, FIRST_OUTPUTS_OF))
        compute_in(network, settings.precision)
        return network

    def tail(self) -> Any:
        return build_tail(self.side, self.width, None if self.rare is None else BINS)

    def build_final_model(self, network: Any, base: Any) -> Any:
        saved = super().build_final_model(network, base)
        return final_model(saved, self.tail(), flip_tta=self.settings.flip_tta)

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        """Return `mse`, and `grey_mse` and `mean_mse` of the baselines, in squared CIELAB units.

        The mean color is that of the pictures which this training learned from.
        """
        predicted = self.examples(fold).predict_batches(colorizer_of(learned.network))
        return pd.concat([squared_errors(lab, ab, self.mean_color) for lab, ab in predicted], ignore_index=True)

    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        return summarise(judged, ("mse",))

    def progress_sheet(self, folder: Path) -> ColorSheet:
        return ColorSheet(lab=evenly_chosen(self.validation.rows), tail=self.tail(), folder=folder)


def open_learner(setup: Setup) -> ColorLearner:
    """Open what a run learns; see `lamina.tasks.task.Task.open_learner`.

    Raises:
        UserError: if there is no picture to train with.
    """
    return ColorLearner.opened(setup)


def bin_counts(rows: Rows) -> np.ndarray:
    """Return (bins,) int64: how many pixels of some rows have each bin as their nearest, over `COUNTED` pictures."""
    return np.asarray(sum(count_bins(lab[..., 1:] / np.float32(100)) for lab in chunks(rows, COUNTED)))


def _lightness(rows: Rows, most: int) -> np.ndarray:
    return np.concatenate([lab[..., :1] for lab in chunks(rows, most)]) / np.float32(100)
