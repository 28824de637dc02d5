"""What a run learns that predicts mean colors: least squares with a penalty, in one step."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from lamina.tasks.mean_color.results import judge, mean_lab, mean_rgb, summarise
from lamina.tasks.mean_color.settings import MeanColorNumbers, MeanColorSettings

from lamina.data.rows import open_rows
from lamina.inputs.index import input_digest, input_width
from lamina.training.history import averages
from lamina.training.learner import DEFAULT_OPTIONS, Learned, Learner, Setup, TrainingOptions
from lamina.training.settings import Hyperparameters


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The pictures of a fold: mean RGB and mean CIELAB, (n, 3) each."""

    inputs: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


class MeanColorLearner(Learner):
    """How least squares learns mean colors."""

    settings: MeanColorSettings

    @property
    def width(self) -> int:
        return input_width(self.folders.pixels)

    @property
    def digest(self) -> str:
        return input_digest(self.folders.pixels, self.folders)

    def examples(self, fold: str) -> Examples:
        chosen = (self.manifest["fold"] == fold) & (self.manifest["copy"] == 0)
        rows = open_rows(self.manifest[chosen], self.folders)
        return Examples(inputs=mean_rgb(rows), targets=mean_lab(rows))

    def learn(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        weights = fit(self.train, cast(MeanColorNumbers, numbers).penalty)
        row = {"epoch": 1.0}
        for fold, examples in (("train", self.train), ("validation", self.validation)):
            errors = judge(predict(weights, examples.inputs), examples.targets)["mse"].sum()
            row |= averages(fold, (errors, errors), len(examples), "mse")
        options.on_epoch(row)
        return Learned(
            history=[row],
            make=lambda: build_network(weights, self.width),
            predict=lambda examples: predict(weights, examples.inputs),
        )

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        examples = self.examples(fold)
        return judge(learned.predict(examples), examples.targets)

    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        return summarise(judged)


def open_learner(setup: Setup) -> MeanColorLearner:
    """Open what a run learns; see `lamina.tasks.task.Task.open_learner`."""
    return MeanColorLearner(**vars(setup))


def fit(examples: Examples, penalty: float) -> np.ndarray:
    """Return the weights, (4, 3): of red, green, blue and a constant, which has no penalty."""
    inputs = np.column_stack([examples.inputs, np.ones(len(examples))])
    ridge = penalty * np.diag([1.0, 1.0, 1.0, 0.0])
    return np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ examples.targets)


def predict(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Return the predicted mean CIELAB, (n, 3), for mean RGB, (n, 3)."""
    return inputs @ weights[:3] + weights[3]


def build_network(weights: np.ndarray, side: int) -> Any:
    """Build the model that is saved: from (n, side, side, 3) RGB 0..255 to (n, 3) CIELAB."""
    from lamina.models.keras_runtime import keras

    pixels = keras.Input((side, side, 3), name="rgb")
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    dense = keras.layers.Dense(3, name="color")
    network = keras.Model(pixels, dense(means))
    dense.set_weights([weights[:3], weights[3]])
    return network
