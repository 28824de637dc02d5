"""What a run that learns lightness learns: from a and b, the lightness of the same picture. No labels.

Its encoder is what it is for. The network is the reverse of a colorizer. Source: one half of R. Zhang, P. Isola,
A. Efros, Split-Brain Autoencoders, CVPR 2017.
"""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lamina.inputs.lightness import LightnessExamples, chroma
from lamina.models.backbones import convention, load_trunk
from lamina.models.chroma import SPREAD
from lamina.models.colorizers import brought_to, encode_and_decode, predicted_side, scale_initial_outputs
from lamina.models.layers import compute_in
from lamina.tasks.lightness.results import judge_lightness, summarise
from lamina.tasks.lightness.settings import LightnessSettings
from lamina.tasks.picture_learner import FIRST_OUTPUTS_OF, PictureLearner, chunks, mean_lab
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
        return super().facts | {"mean_lightness": round(self.mean_lightness, 4)}

    @cached_property
    def side(self) -> int:
        return predicted_side(self.width, "mse")

    def examples(self, fold: str) -> LightnessExamples:
        return LightnessExamples(self.rows(fold))

    def build(self, numbers: GradientNumbers) -> Any:
        """Build the trained part: from (n, S, S, 3) of `lamina.models.chroma` to (n, side, side, 1) numbers."""
        from lamina.models.keras_runtime import keras

        settings, size = self.settings, self.width
        trunk = load_trunk(settings.encoder, weights=settings.weights, size=size, seed=self.seed)
        inputs, dropout = keras.Input((size, size, 3), name="chroma"), numbers.dropout
        outputs = encode_and_decode(trunk, inputs, settings.decoder, self.side, 1, dropout, self.seed, frozen=False)
        network = keras.Model(inputs, outputs, name="lightness")
        first = np.concatenate([chroma(lab) for lab in chunks(self.originals, FIRST_OUTPUTS_OF)])
        scale_initial_outputs(network, first)
        compute_in(network, settings.precision)
        return network

    def tail(self) -> Any:
        """Build the part that turns numbers into lightness: from (n, side, side, 1) to (n, S, S, 1) L.

        A number is (L - 50) / `SPREAD`. This part has no weights, and does not clip L to 0..100.
        """
        from lamina.models.keras_runtime import keras

        numbers = keras.Input((self.side, self.side, 1), name="numbers")
        light = keras.layers.Rescaling(SPREAD, offset=50.0, name="units")(numbers)
        return keras.Model(numbers, brought_to(light, self.width), name="tail")

    def build_final_model(self, network: Any, base: Any) -> Any:
        """Build the saved model: from (n, S, S, 3) RGB values 0..255 to (n, S, S, 1) L in CIELAB units."""
        from lamina.models.keras_runtime import keras

        pixels = keras.Input((self.width, self.width, 3), name="rgb")
        prepared = convention(self.settings.encoder, "chroma", self.width)(pixels)
        trained = super().build_final_model(network, base)
        return keras.Model(pixels, self.tail()(trained(prepared)), name="lightener")

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
    return LightnessLearner.opened(setup)
