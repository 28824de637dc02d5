"""What a run learns: examples of the folds, a network, and a trainer. Tuning, training and assessment share it.

Importing this imports no TensorFlow.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.depth import stored_depth
from lamina.data.rows import Folders
from lamina.models.layers import freeze_norms
from lamina.models.weights import weights_facts
from lamina.prefetch import in_background
from lamina.training.checkpoint import Checkpoint, HeadCache
from lamina.training.history import EpochRow
from lamina.training.settings import (
    GradientNumbers,
    GradientSettings,
    Hyperparameters,
    Recipe,
    RunSettings,
    gradient_numbers,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from lamina.training.trainers import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How one training goes: tuning, the stage `train` and `assess` each set their own.

    Attributes:
        epochs: how many; None: as many as the run's settings say.
        on_epoch: called with each epoch's row. What it raises ends the training.
        what: name of the training in its progress.
        checkpoint: where training from pixels resumes from and saves to.
        on_network: called with the epoch and the network after each epoch of training from pixels.
        head_cache: where the training of a head resumes from, and leaves its state. It takes seconds and uses neither
            of the two above.
    """

    epochs: int | None = None
    on_epoch: Callable[[EpochRow], None] = lambda row: None
    what: str = "train"
    checkpoint: Checkpoint | None = None
    on_network: Callable[[int, Any], None] | None = None
    head_cache: HeadCache | None = None


DEFAULT_OPTIONS: Final = TrainingOptions()


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What training came to.

    Attributes:
        history: a row per epoch (`lamina.training.fit.fit`).
        make: Builds the Keras model when it is first used.
        predict: predictions for a fold's examples, row by row.
    """

    history: list[EpochRow]
    make: Callable[[], Any]
    predict: Callable[[Any], np.ndarray]

    @cached_property
    def network(self) -> Any:
        """The Keras model."""
        return self.make()


class ProgressSheet(Protocol):
    """What a network makes of some pictures during training, for people to watch it learn."""

    def on_network(self, epoch: int, network: Any) -> None:
        """See the network after an epoch, with the weights that are evaluated."""

    def strip(self, epoch: int) -> "Image | None":
        """Return what was made of the pictures after an epoch; None where it was not kept."""

    def sheet(self, network: Any, epochs: int) -> "Image":
        """Return the sheet of all that was kept; network: the final model."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a learner is opened with, and keeps.

    Attributes:
        settings: of the run.
        folders: where the data lie.
        manifest: rows of the split manifest, or rows like them with other folds or labels.
        seed: of weights, order of batches and dropout.
        augment: section `augment`, where every epoch draws fresh warps; None where the planned copies are used.
    """

    settings: RunSettings
    folders: Folders
    manifest: pd.DataFrame
    seed: int
    augment: AugmentConfig | None = None


class Learner(Setup, ABC):
    """What a run learns from and how; a task's `learning.py` opens it."""

    tests_labels: ClassVar[bool] = False  # whether there are classes, which a control may shuffle
    uses_parts: ClassVar[bool] = False  # whether the parts of the split, stratified by class, serve cross-validation
    is_random: ClassVar[bool] = True  # whether training depends on the seed

    @property
    @abstractmethod
    def width(self) -> int:
        """Side of the pictures in pixels, or number of features."""

    @property
    def folder(self) -> Path:
        """The folder of the run's input."""
        return self.folders.of_input(self.settings.input)

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of the input and the split."""

    @abstractmethod
    def examples(self, fold: str) -> Any:
        """Return the examples of a fold."""

    def judged_examples(self, fold: str) -> Any:
        """Return the examples that `learn_again` leaves a network for."""
        return self.examples(fold)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted; empty where the task has none."""
        return []

    @property
    def facts(self) -> dict[str, Any]:
        """What the record keeps of the training data besides their digest and number, and of published weights."""
        facts = weights_facts(self.settings.weights)
        return stored_depth(self.folders.lab) | ({"weights": facts} if facts else {})

    @cached_property
    def train(self) -> Any:
        """The training fold's examples."""
        return self.examples("train")

    @cached_property
    def validation(self) -> Any:
        """The validation fold's examples."""
        return self.examples("validation")

    @abstractmethod
    def learn(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        """Train a new network with these numbers."""

    def learn_final(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        """Train to the end, and build the model that is saved: from raw input to predictions."""
        return self.learn(numbers, options)

    @abstractmethod
    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        """Return what the scores of a fold's rows are made of, in the order of the rows.

        For `learned` as `learn_again` gives it. The columns `id`, `origin` and `fold` are added by the caller.
        """

    @abstractmethod
    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        """Return scores over judged rows: at least the measure's value, its `interval`, `n` and `origins`."""

    def learn_again(self, numbers: Hyperparameters, options: TrainingOptions) -> Learned:
        """Train as `learn_final`, for scores alone: without the final model where scores do not need it."""
        return self.learn_final(numbers, options)

    def progress_sheet(self, folder: Path) -> ProgressSheet | None:
        """Return what draws a sheet of progress, keeping its parts in a folder; None where there is nothing to see."""
        return None


class NetworkLearner(Learner):
    """A network that trains by gradient descent in TensorFlow."""

    settings: GradientSettings

    @abstractmethod
    def build(self, numbers: GradientNumbers) -> Any:
        """Build a new network."""

    def load_base(self) -> Any:
        """Load what the final model holds besides the trained network."""

    def build_final_model(self, network: Any, base: Any) -> Any:
        """Build the model that is saved, of the trained network and of what `load_base` loaded."""
        return network

    def fresh_examples(self, epoch: int, epochs: int) -> Any:
        """Return the training examples of one of so many epochs: by default the same in each."""
        return self.train

    def learn(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        from lamina.models.keras_runtime import keras
        from lamina.training.devices import devices
        from lamina.training.fit import fit

        devices()  # before TensorFlow computes anything
        keras.backend.clear_session()  # memory grows with every network that was built
        network, epochs = self.build(gradient_numbers(numbers)), options.epochs or self.settings.epochs
        if self.recipe.batch_norm == "frozen":
            freeze_norms(network)
        trainer = self.trainer(network, gradient_numbers(numbers), self.recipe, self.steps(epochs))
        examples, fresh = (self.train, self.validation), partial(self.fresh_examples, epochs=epochs)
        history = fit(trainer, *examples, self.settings, options, seed=self.seed, fresh_examples=fresh)
        return final(trainer.network, history)

    def learn_final(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        # a head trains on one core and without Keras: a frozen backbone is loaded meanwhile
        with in_background(self.load_base) as loaded:
            learned = self.learn(numbers, options)
            base = loaded()
        return final(self.build_final_model(learned.network, base), learned.history)

    @property
    def recipe(self) -> Recipe:
        """Optimizer and schedule: those of the settings, if they have some."""
        return self.settings if isinstance(self.settings, Recipe) else Recipe()

    def steps(self, epochs: int) -> int:
        """Return the number of training steps in some epochs."""
        return epochs * math.ceil(len(self.train) / self.settings.batch_size)

    @abstractmethod
    def trainer(self, network: Any, numbers: GradientNumbers, recipe: Recipe, steps: int) -> "Trainer":
        """Return the trainer of a network; steps: of the whole training."""


def final(network: Any, history: list[EpochRow]) -> Learned:
    """A network as it is, or a final model, from raw input; `predict` takes the examples that hold its input."""
    return Learned(history=history, make=lambda: network, predict=lambda examples: examples.predict(network))
