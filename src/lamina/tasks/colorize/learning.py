"""What a colorizer learns: from lightness, the a and b of the same picture. No label is looked at."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders, Rows, open_rows
from lamina.inputs.lightness import ColorExamples
from lamina.inputs.pixels import each_epoch
from lamina.maths.bins import BINS, count_bins, rarity
from lamina.models.backbones import calibrate
from lamina.models.colorizers import build_colorizer, build_tail, grey, predicted_side, scale_initial_outputs, with_tail
from lamina.models.layers import compute_in
from lamina.tasks.runs import ColorizeRun, Tuned
from lamina.training.learner import data_digest, picture_size, pixel_files
from lamina.training.picture_learner import LISTENED, PixelTask, chunks, mean_lab, of_fold, started_from, to_float32

CALIBRATION_PICTURES: Final = 64
COUNTED: Final = 2_000  # pictures, evenly chosen, whose colors tell how rare each is


@dataclass(frozen=True, kw_only=True)
class ColorTask(PixelTask):
    """How a network learns the colors of pictures.

    mean_color: (2,) a, b of the training originals, the mean over their pixels.
    """

    run: ColorizeRun
    mean_color: np.ndarray

    @property
    def told(self) -> dict[str, Any]:
        return {"mean_color": [round(float(value), 4) for value in self.mean_color]}

    def tail(self) -> Any:
        return build_tail(self.side, self.size, None if self.rare is None else BINS)


def color_task(
    run: ColorizeRun, folders: Folders, manifest: pd.DataFrame, *, seed: int, augment: AugmentConfig | None = None
) -> ColorTask:
    """Pictures and their planned copies, or, where the run wants fresh ones, such as the section `augment` says.

    Raises UserError where no picture trains or validates.
    """
    size = picture_size(folders)
    side = predicted_side(size, run.loss)
    originals = open_rows(of_fold(manifest, "train", originals=True), folders)
    rare = rarity(bin_counts(originals)) if run.loss == "rebalanced" else None

    def examples(fold: str) -> ColorExamples:
        return ColorExamples(open_rows(of_fold(manifest, fold), folders), side if rare is not None else None)

    digest = started_from(run, data_digest(folders, *pixel_files(folders)))
    anew, digest = each_epoch(run.augmentation, examples, manifest, augment, digest, seed=seed)

    def build(tuned: Tuned) -> Any:
        network = build_colorizer(
            run.backbone,
            weights=run.weights,
            initialize=run.start,
            preprocess=run.preprocess,
            decoder=run.decoder,
            side=side,
            outputs=2 if rare is None else len(rare),
            size=size,
            dropout=tuned.dropout,
            seed=seed,
            frozen=run.encoder == "frozen",
        )
        if run.encoder == "frozen" and run.weights == "none":
            calibrate(network, grey(_lightness(originals, CALIBRATION_PICTURES)))
        if run.start == "encoder":
            scale_initial_outputs(network, _lightness(originals, LISTENED))
        compute_in(network, run.precision)
        return network

    task = ColorTask(
        run=run,
        size=size,
        digest=digest,
        examples=examples,
        build=build,
        whole=lambda network, _: with_tail(to_float32(network), task.tail(), flip_tta=run.flip_tta),
        seed=seed,
        anew=anew,
        side=side,
        mean_color=mean_lab(originals)[1:],
        rare=rare,
    )
    return task


def bin_counts(rows: Rows) -> np.ndarray:
    """(bins,) int64: how many pixels of some rows have each bin as their nearest, of `COUNTED` pictures at most."""
    return np.asarray(sum(count_bins(lab[..., 1:] / np.float32(100)) for lab in chunks(rows, COUNTED)))


def _lightness(rows: Rows, most: int) -> np.ndarray:
    return np.concatenate([lab[..., :1] for lab in chunks(rows, most)]) / np.float32(100)
