"""What a run that colorizes learns: from lightness, the a and b of the same picture. No labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders, Rows, open_rows
from lamina.inputs.index import input_digest, input_width, read_split
from lamina.inputs.lightness import ColorExamples
from lamina.inputs.pixels import fresh_each_epoch
from lamina.maths.bins import BINS, count_bins, rarity
from lamina.maths.color_scores import squared_errors
from lamina.models.backbones import RANDOM, calibrate
from lamina.models.colorizers import build_colorizer, build_tail, grey, predicted_side, scale_initial_outputs
from lamina.models.layers import compute_in
from lamina.results.record import note_convention
from lamina.tasks.colorize.network import colorizer_of, final_model
from lamina.tasks.colorize.progress_sheet import ColorSheet, evenly_chosen
from lamina.tasks.colorize.results import summarise
from lamina.tasks.colorize.settings import ColorizeSettings
from lamina.training.learner import Learned
from lamina.training.picture_learner import (
    FIRST_OUTPUTS_OF,
    PictureLearner,
    chunks,
    mean_lab,
    rows_of_fold,
    to_float32,
    with_weights,
)
from lamina.training.settings import GradientNumbers, RunSettings

CALIBRATION_PICTURES: Final = 64
COUNTED: Final = 2_000  # evenly chosen pictures whose colors tell how rare each color is


@dataclass(frozen=True, kw_only=True)
class ColorLearner(PictureLearner):
    """How a network learns colors. mean_color: (2,) mean a, b over the pixels of the training originals."""

    settings: ColorizeSettings
    mean_color: np.ndarray

    @property
    def facts(self) -> dict[str, Any]:
        return {"mean_color": [round(float(value), 4) for value in self.mean_color]}

    def tail(self) -> Any:
        return build_tail(self.side, self.width, None if self.rare is None else BINS)

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


def open_learner(
    name: str,
    settings: RunSettings,
    folders: Folders,
    *,
    seed: int,
    manifest: pd.DataFrame | None = None,
    augment: AugmentConfig | None = None,
) -> ColorLearner:
    """Open what the run `name` learns; see `lamina.tasks.task.Task.open_learner`.

    Raises:
        UserError: if there is no picture to train or validate with.
    """
    settings = cast(ColorizeSettings, settings)
    note_convention(settings.weights, settings.preprocess)
    rows = read_split(folders) if manifest is None else manifest
    size = input_width(folders.pixels)
    side = predicted_side(size, settings.loss)
    originals = open_rows(rows_of_fold(rows, "train", originals=True), folders)
    rare = rarity(bin_counts(originals)) if settings.loss == "rebalanced" else None

    def examples(fold: str) -> ColorExamples:
        return ColorExamples(open_rows(rows_of_fold(rows, fold), folders), side if rare is not None else None)

    digest = with_weights(input_digest(folders.pixels, folders), settings)
    fresh, digest = fresh_each_epoch(settings.augmentation, examples, rows, augment, digest, seed=seed)

    def build(numbers: GradientNumbers) -> Any:
        network = build_colorizer(
            settings.encoder,
            weights=settings.weights,
            initialize=settings.initialize,
            preprocess=settings.preprocess,
            decoder=settings.decoder,
            side=side,
            outputs=2 if rare is None else len(rare),
            size=size,
            dropout=numbers.dropout,
            seed=seed,
            frozen=not settings.trainable,
        )
        if not settings.trainable and settings.weights == RANDOM:
            calibrate(network, grey(_lightness(originals, CALIBRATION_PICTURES)))
        if settings.initialize == "encoder":
            scale_initial_outputs(network, _lightness(originals, FIRST_OUTPUTS_OF))
        compute_in(network, settings.precision)
        return network

    learner = ColorLearner(
        settings=settings,
        manifest=rows,
        width=size,
        digest=digest,
        examples=examples,
        build=build,
        build_final_model=lambda network, _: final_model(
            to_float32(network), learner.tail(), flip_tta=settings.flip_tta
        ),
        seed=seed,
        fresh_examples=fresh,
        side=side,
        mean_color=mean_lab(originals)[1:],
        rare=rare,
    )
    return learner


def bin_counts(rows: Rows) -> np.ndarray:
    """Return (bins,) int64: how many pixels of some rows have each bin as their nearest, over `COUNTED` pictures."""
    return np.asarray(sum(count_bins(lab[..., 1:] / np.float32(100)) for lab in chunks(rows, COUNTED)))


def _lightness(rows: Rows, most: int) -> np.ndarray:
    return np.concatenate([lab[..., :1] for lab in chunks(rows, most)]) / np.float32(100)
