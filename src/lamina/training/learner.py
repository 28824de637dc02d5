"""What a run learns: examples of the folds, a network, and who trains it. Tuning and training share it.

Importing this imports no TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lamina.data.rows import Folders
from lamina.files import file_digest, json_digest
from lamina.tasks.runs import Run, Tuned
from lamina.training.history import EpochRow
from lamina.training.training_options import DEFAULT_OPTIONS, TrainingOptions

if TYPE_CHECKING:
    from lamina.training.trainers import Trainer


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A row per epoch of how learning went, and what learned.

    make: gives the network, when it is asked for; answers: what it says of a fold's examples, row by row.
    """

    history: list[EpochRow]
    make: Callable[[], Any]
    answers: Callable[[Any], np.ndarray]

    @cached_property
    def network(self) -> Any:
        """The Keras model."""
        return self.make()


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples of the folds, and how a network learns them.

    size: side of the pictures in pixels. digest: SHA-256 of the split, the features or pixels, and the file of weights
    that it starts from. examples: those of a fold, by its name (`lamina.training.fit.Examples`). build: a fresh network
    for them. load: what the model that people use holds beside the learned network; whole: that model, of the learned
    network and of what was loaded. seed: of weights, order of batches and dropout. anew: the training examples of an
    epoch, where each epoch has its own.
    """

    run: Run
    size: int
    digest: str
    examples: Callable[[str], Any]
    build: Callable[[Tuned], Any]
    whole: Callable[[Any, Any], Any]
    seed: int
    anew: Callable[[int], Any] | None = None
    load: Callable[[], Any] = lambda: None

    @property
    def classes(self) -> list[str]:
        """Names of the classes that are told apart, sorted; none where there is nothing to tell apart."""
        return []

    @property
    def told(self) -> dict[str, Any]:
        """What the record tells of the data beside their digest and number."""
        return {}

    @cached_property
    def train(self) -> Any:
        """The training fold's examples (`lamina.inputs.pixels`)."""
        return self.examples("train")

    @cached_property
    def validation(self) -> Any:
        """The validation fold's examples."""
        return self.examples("validation")

    def learn(self, tuned: Tuned, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        """Train a fresh network; see `lamina.training.fit.fit`."""
        from lamina.models.keras_runtime import keras
        from lamina.training.fit import fit

        keras.backend.clear_session()  # memory grows with every network that was built
        trainer = self.trainer(self.build(tuned), tuned)
        history = fit(
            trainer,
            self.train,
            self.validation,
            epochs=options.epochs or self.run.epochs,
            batch_size=self.run.batch_size,
            seed=self.seed,
            on_epoch=options.on_epoch,
            what=options.what,
            patience=self.run.patience,
            fresh_examples=self.anew,
            checkpoint=options.checkpoint,
            on_network=options.look,
        )
        network = trainer.network
        return Learned(history=history, make=lambda: network, answers=lambda examples: examples.answers(network))

    def trainer(self, network: Any, tuned: Tuned) -> "Trainer":
        """Who trains a network as the run says."""
        raise NotImplementedError


def read_split(folders: Folders) -> pd.DataFrame:
    """The split manifest: `id`, `origin`, `label`, `copy`, `fold`."""
    return pd.read_parquet(folders.split / "manifest.parquet")


def pixel_files(folders: Folders) -> tuple[Path, Path]:
    """What rows of pictures are read from."""
    return folders.lab / "pixels.npy", folders.augmented / "plan.parquet"


def data_digest(folders: Folders, *files: Path) -> str:
    """SHA-256 of the split and of the files that examples are read from."""
    return json_digest([file_digest(path) for path in (folders.split / "manifest.parquet", *files)])


def picture_size(folders: Folders) -> int:
    """The side of the pictures in pixels."""
    return int(np.load(folders.lab / "pixels.npy", mmap_mode="r").shape[1])
