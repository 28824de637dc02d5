"""What a run that learns lightness learns: from a and b, the lightness of the same picture. No labels."""

from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd

from lamina.inputs.lightness import LightnessExamples, chroma
from lamina.models.colorizers import predicted_side, scale_initial_outputs
from lamina.models.layers import compute_in
from lamina.results.record import note_convention
from lamina.tasks.lightness.network import build_lightness_network, build_tail, with_ends
from lamina.tasks.lightness.results import judge_lightness, summarise
from lamina.tasks.lightness.settings import LightnessSettings
from lamina.tasks.picture_learner import FIRST_OUTPUTS_OF, PictureLearner, chunks, mean_lab, training_originals
from lamina.training.learner import Learned, Setup
from lamina.training.settings import GradientNumbers


class LightnessLearner(PictureLearner):
    """How a network learns lightness."""

    settings: LightnessSettings

    @cached_property
    def mean_lightness(self) -> float:
        """Mean L over the pixels of the training originals."""
        return float(mean_lab(self.originals)[0])

    @property
    def facts(self) -> dict[str, Any]:
        return {"mean_lightness": round(self.mean_lightness, 4)}

    @cached_property
    def side(self) -> int:
        return predicted_side(self.width, "mse")

    def examples(self, fold: str) -> LightnessExamples:
        return LightnessExamples(self.rows(fold))

    def build(self, numbers: GradientNumbers) -> Any:
        settings = self.settings
        network = build_lightness_network(
            settings.encoder,
            weights=settings.weights,
            decoder=settings.decoder,
            side=self.side,
            size=self.width,
            dropout=numbers.dropout,
            seed=self.seed,
        )
        first = np.concatenate([chroma(lab) for lab in chunks(self.originals, FIRST_OUTPUTS_OF)])
        scale_initial_outputs(network, first)
        compute_in(network, settings.precision)
        return network

    def tail(self) -> Any:
        return build_tail(self.side, self.width)

    def build_final_model(self, network: Any, base: Any) -> Any:
        return with_ends(super().build_final_model(network, base), self.tail(), self.settings.encoder)

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        """Return `mse`, and `mean_mse` of the training mean everywhere, in squared units of L."""
        return judge_lightness(learned.network, self.rows(fold), self.mean_lightness)

    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        return summarise(judged)


def open_learner(setup: Setup) -> LightnessLearner:
    """Open what a run learns; see `lamina.tasks.task.Task.open_learner`.

    Raises:
        UserError: if there is no picture to train with.
    """
    settings = cast(LightnessSettings, setup.settings)
    note_convention(settings.weights, settings.preprocess)
    return LightnessLearner(**vars(setup), originals=training_originals(setup))
