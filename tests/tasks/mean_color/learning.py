"""What a run learns that predicts mean colors: least squares with a penalty, in one step."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from lamina.tasks.mean_color.results import judge, mean_lab, mean_rgb, summarise
from lamina.tasks.mean_color.settings import MeanColorNumbers, MeanColorSettings

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders, open_rows
from lamina.inputs.index import input_digest, input_width, read_split
from lamina.training.history import averages
from lamina.training.learner import Learned, Learner
from lamina.training.settings import Hyperparameters, RunSettings
from lamina.training.training_options import DEFAULT_OPTIONS, TrainingOptions


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The pictures of a fold: mean RGB and mean CIELAB, (n, 3) each."""

    inputs: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True)
class MeanColorLearner(Learner):
    """How least squares learns mean colors."""

    settings: MeanColorSettings

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


def open_learner(
    name: str,
    settings: RunSettings,
    folders: Folders,
    *,
    seed: int,
    manifest: pd.DataFrame | None = None,
    augment: AugmentConfig | None = None,
) -> MeanColorLearner:
    """Open what a run learns; see `lamina.tasks.task.Task.open_learner`."""
    split = read_split(folders) if manifest is None else manifest

    def examples(fold: str) -> Examples:
        rows = open_rows(split[(split["fold"] == fold) & (split["copy"] == 0)], folders)
        return Examples(inputs=mean_rgb(rows), targets=mean_lab(rows))

    return MeanColorLearner(
        settings=cast(MeanColorSettings, settings),
        width=input_width(folders.pixels),
        digest=input_digest(folders.pixels, folders),
        examples=examples,
        seed=seed,
    )


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
