"""What a colorizer learns: from lightness, the a and b of the same picture. No label is looked at."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig, draw_anew
from lamina.data.rows import Folders, Rows, open_rows
from lamina.errors import UserError
from lamina.files import json_digest
from lamina.learn.color_examples import ColorExamples
from lamina.learn.runs import ColorizeRun, Tuned
from lamina.learn.task import Task, data_digest, picture_size, pixel_files
from lamina.maths.bins import BINS, count_bins, rarity
from lamina.models.backbones import calibrate
from lamina.models.colorizers import build_colorizer, build_tail, grey, predicted_side, with_tail
from lamina.models.layers import compute_in

if TYPE_CHECKING:
    from lamina.learn.color_trainer import ColorTrainer

_CHUNK: Final = 256
CALIBRATION_PICTURES: Final = 64
COUNTED: Final = 2_000  # pictures, evenly chosen, whose colors tell how rare each is


@dataclass(frozen=True, kw_only=True)
class ColorTask(Task):
    """How a network learns the colors of pictures.

    side: at which it predicts them. mean_color: (2,) a, b of the training originals, the mean over their pixels.
    rare: (bins,) what a pixel of each bin counts, for the loss `rebalanced`.
    """

    run: ColorizeRun
    side: int
    mean_color: np.ndarray
    rare: np.ndarray | None

    @property
    def told(self) -> dict[str, Any]:
        return {"mean_color": [round(float(value), 4) for value in self.mean_color]}

    def trainer(self, network: Any, tuned: Tuned) -> "ColorTrainer":
        from lamina.learn.color_trainer import ColorTrainer

        return ColorTrainer(network, tuned, tail=self.tail(), rare=self.rare, average=self.run.average)

    def tail(self) -> Any:
        """What makes colors of the network's numbers."""
        return build_tail(self.side, self.size, None if self.rare is None else BINS)


def color_task(
    run: ColorizeRun, folders: Folders, manifest: pd.DataFrame, *, seed: int, augment: AugmentConfig | None = None
) -> ColorTask:
    """Pictures and their planned copies, or, where the run wants fresh ones, such as the section `augment` says.

    Raises UserError where no picture trains or validates.
    """
    size, digest, anew = picture_size(folders), data_digest(folders, *pixel_files(folders)), None
    side = predicted_side(size, run.loss)
    originals = open_rows(_of_fold(manifest, "train", originals=True), folders)
    mean_color = mean_ab(originals)
    rare = rarity(bin_counts(originals)) if run.loss == "rebalanced" else None

    def examples(fold: str) -> ColorExamples:
        return ColorExamples(open_rows(_of_fold(manifest, fold), folders), side if rare is not None else None)

    if run.augmentation == "fresh":
        if augment is None:
            raise TypeError("augmentation: fresh draws within the ranges of `augment`, got None")
        train, rows, reach = examples("train"), _of_fold(manifest, "train"), augment
        digest = json_digest([digest, augment.model_dump()])

        def anew(epoch: int) -> ColorExamples:
            drawn = draw_anew(rows, reach, seed=seed, epoch=epoch)
            return replace(train, rows=replace(train.rows, plan=drawn))

    def build(tuned: Tuned) -> Any:
        network = build_colorizer(
            run.backbone,
            weights=run.weights,
            start=run.start,
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
        compute_in(network, run.precision)
        return network

    task = ColorTask(
        run=run,
        size=size,
        digest=digest,
        examples=examples,
        build=build,
        whole=lambda network, _: _whole(network, task.tail()),
        seed=seed,
        anew=anew,
        side=side,
        mean_color=mean_color,
        rare=rare,
    )
    return task


def _whole(network: Any, tail: Any) -> Any:
    compute_in(network, "float32")  # what is saved runs everywhere
    return with_tail(network, tail)


def _of_fold(manifest: pd.DataFrame, fold: str, *, originals: bool = False) -> pd.DataFrame:
    rows = manifest[(manifest["fold"] == fold) & ((manifest["copy"] == 0) | (not originals))]
    if not len(rows):
        raise UserError(f"no picture in the fold {fold}; add pictures, or look at split and filter")
    return rows


def mean_ab(rows: Rows) -> np.ndarray:
    """(2,) float64: mean a and b over all pixels of some rows, in CIELAB units."""
    sums = sum(lab[..., 1:].sum(axis=(0, 1, 2), dtype=np.int64) for lab in _chunks(rows, len(rows)))
    return np.asarray(sums) / (len(rows) * rows.size**2) / 100


def bin_counts(rows: Rows) -> np.ndarray:
    """(bins,) int64: how many pixels of some rows have each bin as their nearest, of `COUNTED` pictures at most."""
    return np.asarray(sum(count_bins(lab[..., 1:] / np.float32(100)) for lab in _chunks(rows, COUNTED)))


def _chunks(rows: Rows, most: int) -> Any:
    """CIELAB of rows, evenly chosen where they are more than `most`."""
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return (rows.read_lab(chosen[at : at + _CHUNK]) for at in range(0, len(chosen), _CHUNK))


def _lightness(rows: Rows, most: int) -> np.ndarray:
    return np.concatenate([lab[..., :1] for lab in _chunks(rows, most)]) / np.float32(100)
