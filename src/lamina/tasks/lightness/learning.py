"""What a pretext run learns: from a and b, the lightness of the same picture. No label is looked at."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders, open_rows
from lamina.inputs.lightness import lightness
from lamina.inputs.pixels import RowExamples, each_epoch
from lamina.models.chroma import SPREAD
from lamina.models.colorizers import predicted_side, scale_initial_outputs
from lamina.models.layers import compute_in
from lamina.tasks.lightness.network import build_lightener, build_tail, with_ends
from lamina.tasks.runs import PretextRun, Tuned
from lamina.training.learner import data_digest, picture_size, pixel_files
from lamina.training.picture_learner import LISTENED, PixelTask, chunks, mean_lab, of_fold, started_from, to_float32


@dataclass(frozen=True)
class LightnessExamples(RowExamples):
    """Pictures as color without lightness, and their lightness."""

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lab = self.rows.read_lab(rows)
        return chroma(lab), lightness(lab)


@dataclass(frozen=True, kw_only=True)
class PretextTask(PixelTask):
    """How a network learns the lightness of pictures. mean_lightness: L of the training originals, over all pixels."""

    run: PretextRun
    mean_lightness: float

    @property
    def told(self) -> dict[str, Any]:
        return {"mean_lightness": round(self.mean_lightness, 4)}

    def tail(self) -> Any:
        return build_tail(self.side, self.size)


def pretext_task(
    run: PretextRun, folders: Folders, manifest: pd.DataFrame, *, seed: int, augment: AugmentConfig | None = None
) -> PretextTask:
    """Pictures and their planned copies, or, where the run wants fresh ones, such as the section `augment` says.

    Raises UserError where no picture trains or validates.
    """
    size = picture_size(folders)
    side = predicted_side(size, "mse")

    originals = open_rows(of_fold(manifest, "train", originals=True), folders)

    def examples(fold: str) -> LightnessExamples:
        return LightnessExamples(open_rows(of_fold(manifest, fold), folders))

    digest = started_from(run, data_digest(folders, *pixel_files(folders)))
    anew, digest = each_epoch(run.augmentation, examples, manifest, augment, digest, seed=seed)

    def build(tuned: Tuned) -> Any:
        network = build_lightener(
            run.backbone,
            weights=run.weights,
            decoder=run.decoder,
            side=side,
            size=size,
            dropout=tuned.dropout,
            seed=seed,
        )
        scale_initial_outputs(network, np.concatenate([chroma(lab) for lab in chunks(originals, LISTENED)]))
        compute_in(network, run.precision)
        return network

    task = PretextTask(
        run=run,
        size=size,
        digest=digest,
        examples=examples,
        build=build,
        whole=lambda network, _: with_ends(to_float32(network), task.tail(), run.backbone),
        seed=seed,
        anew=anew,
        side=side,
        mean_lightness=float(mean_lab(originals)[0]),
    )
    return task


def chroma(lab: np.ndarray) -> np.ndarray:
    """What such networks are given, as `lamina.models.chroma` makes it of RGB: (n, S, S, 3) float32.

    lab: (n, S, S, 3) int16 CIELAB x 100.
    """
    found = np.zeros(lab.shape, np.float32)
    found[..., :2] = lab[..., 1:] / np.float32(100 * SPREAD)
    return found
