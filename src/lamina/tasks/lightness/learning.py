"""What a run that learns lightness learns: from a and b, the lightness of the same picture. No labels."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders, open_rows
from lamina.inputs.index import input_digest, input_width, read_split
from lamina.inputs.lightness import LightnessExamples, chroma
from lamina.inputs.pixels import fresh_each_epoch
from lamina.models.colorizers import predicted_side, scale_initial_outputs
from lamina.models.layers import compute_in
from lamina.results.record import note_convention
from lamina.tasks.lightness.network import build_lightness_network, build_tail, with_ends
from lamina.tasks.lightness.results import judge_lightness, summarise
from lamina.tasks.lightness.settings import LightnessSettings
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


@dataclass(frozen=True, kw_only=True)
class LightnessLearner(PictureLearner):
    """How a network learns lightness. mean_lightness: mean L over the pixels of the training originals."""

    settings: LightnessSettings
    folders: Folders
    mean_lightness: float

    @property
    def facts(self) -> dict[str, Any]:
        return {"mean_lightness": round(self.mean_lightness, 4)}

    def tail(self) -> Any:
        return build_tail(self.side, self.width)

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        """Return `mse`, and `mean_mse` of the training mean everywhere, in squared units of L."""
        rows = open_rows(rows_of_fold(self.manifest, fold), self.folders)
        return judge_lightness(learned.network, rows, self.mean_lightness)

    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        return summarise(judged)


def open_learner(
    name: str,
    settings: RunSettings,
    folders: Folders,
    *,
    seed: int,
    manifest: pd.DataFrame | None = None,
    augment: AugmentConfig | None = None,
) -> LightnessLearner:
    """Open what the run `name` learns; see `lamina.tasks.task.Task.open_learner`.

    Raises:
        UserError: if there is no picture to train or validate with.
    """
    settings = cast(LightnessSettings, settings)
    note_convention(settings.weights, settings.preprocess)
    rows = read_split(folders) if manifest is None else manifest
    size = input_width(folders.pixels)
    side = predicted_side(size, "mse")
    originals = open_rows(rows_of_fold(rows, "train", originals=True), folders)

    def examples(fold: str) -> LightnessExamples:
        return LightnessExamples(open_rows(rows_of_fold(rows, fold), folders))

    digest = with_weights(input_digest(folders.pixels, folders), settings)
    fresh, digest = fresh_each_epoch(settings.augmentation, examples, rows, augment, digest, seed=seed)

    def build(numbers: GradientNumbers) -> Any:
        network = build_lightness_network(
            settings.encoder,
            weights=settings.weights,
            decoder=settings.decoder,
            side=side,
            size=size,
            dropout=numbers.dropout,
            seed=seed,
        )
        scale_initial_outputs(network, np.concatenate([chroma(lab) for lab in chunks(originals, FIRST_OUTPUTS_OF)]))
        compute_in(network, settings.precision)
        return network

    learner = LightnessLearner(
        settings=settings,
        manifest=rows,
        folders=folders,
        width=size,
        digest=digest,
        examples=examples,
        build=build,
        build_final_model=lambda network, _: with_ends(to_float32(network), learner.tail(), settings.encoder),
        seed=seed,
        fresh_examples=fresh,
        side=side,
        mean_lightness=float(mean_lab(originals)[0]),
    )
    return learner
