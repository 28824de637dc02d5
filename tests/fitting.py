"""A small network and rows of numbers, for tests of training."""

from typing import Any

import numpy as np

from lamina.inputs.pixels import PictureExamples
from lamina.models.keras_runtime import keras
from lamina.training.fit import fit
from lamina.training.learner import TrainingOptions
from lamina.training.settings import GradientNumbers, GradientSettings
from lamina.training.trainers import ClassTrainer

STILL = GradientNumbers(learning_rate=1e-2, dropout=0.0, decay=0.0)


def small_network(normalized: bool = False) -> keras.Model:
    """From 6 numbers to 3 classes."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential(
        [keras.Input((6,)), *layers[:1], *[keras.layers.BatchNormalization()] * normalized, layers[1]]
    )


class Numbers(np.ndarray):
    """Rows of numbers with the interface of rows of pictures."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self[rows])


def random_examples(rows: int, seed: int) -> PictureExamples:
    """Numbers that say nothing about their labels: more training overfits, and validation shows it."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, rows, p=[0.6, 0.3, 0.1]).astype(np.int32)
    return PictureExamples(random.normal(size=(rows, 6)).view(Numbers), labels)


def fit_numbers(
    trainer: ClassTrainer, epochs: int, batch_size: int = 8, patience: int | None = None, **options: Any
) -> list[dict[str, float]]:
    kept = {"epochs": epochs, "batch_size": batch_size, "patience": patience}
    settings = GradientSettings(task="any", input="numbers", **STILL.model_dump(), **kept)
    return fit(trainer, random_examples(40, 0), random_examples(40, 1), settings, TrainingOptions(**options), seed=1)
