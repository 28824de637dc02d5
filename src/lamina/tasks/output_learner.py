"""What a run learns whose network answers each picture with some numbers: a head over features, or a whole network.

Importing this imports no TensorFlow: a head trains without it (`lamina.training.heads`).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import open_rows
from lamina.errors import UserError
from lamina.files import json_digest
from lamina.inputs.features import FeatureExamples, fold_rows
from lamina.inputs.index import input_digest, input_facts, input_width
from lamina.inputs.pixels import PictureExamples, growing_side
from lamina.models.backbones import BACKBONES
from lamina.models.layers import accept_any_size, compute_in, unfreeze
from lamina.models.networks import Outputs, build_head, build_network, join
from lamina.models.views import with_views
from lamina.source_code import code_digest
from lamina.tasks.output_settings import HeadSettings, NetworkSettings
from lamina.tasks.pixels_learner import PixelsLearner
from lamina.training.environment import environment
from lamina.training.history import DivergedError, EpochRow
from lamina.training.learner import DEFAULT_OPTIONS, Learned, NetworkLearner, TrainingOptions, final
from lamina.training.settings import GradientNumbers, Hyperparameters, gradient_numbers

if TYPE_CHECKING:
    from lamina.training.head_steps import Fold
    from lamina.training.heads import Head
    from lamina.training.objectives import Objective

_CHUNK: Final = 8192  # rows


class OutputLearner(NetworkLearner):
    """A network that answers each picture with some numbers."""

    @cached_property
    def digest(self) -> str:
        return input_digest(self.folder, self.folders)

    @property
    @abstractmethod
    def outputs(self) -> Outputs:
        """The last layer of the network."""

    @abstractmethod
    def labels(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the true answers of rows of the manifest, (rows,) or (rows, units)."""

    def finish(self, model: Any) -> Any:
        """Return the model that is saved, of one from pixels to `outputs`."""
        return model

    def pictures(self, fold: str) -> PictureExamples:
        """Return a fold's examples as pixels."""
        rows = self.rows(fold)
        return PictureExamples(open_rows(rows, self.folders), self.labels(rows))

    def rows(self, fold: str) -> pd.DataFrame:
        """Return the rows of a fold."""
        return self.manifest[self.manifest["fold"] == fold]

    def places(self, fold: str) -> np.ndarray:
        """Return the places of a fold's rows in the split."""
        return fold_rows(self.manifest, fold)


class HeadLearner(OutputLearner):
    """A head over the features of a frozen backbone, which the stage `extract` wrote."""

    settings: HeadSettings

    @property
    @abstractmethod
    def objective(self) -> "Objective":
        """What the head learns."""

    @abstractmethod
    def fold(self, examples: FeatureExamples, *, training: bool) -> "Fold":
        """Return examples for the head; training: whether as the fold that it trains on."""

    @cached_property
    def width(self) -> int:
        return input_width(self.folders.pixels)

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | input_facts(self.folder)

    @cached_property
    def _features(self) -> Any:
        """(rows of the split, width) float16, memory-mapped."""
        return np.load(self.folder / "features.npy", mmap_mode="r")

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the training features, (features,) each."""
        return _moments(self.train.features)

    def examples(self, fold: str) -> FeatureExamples:
        return FeatureExamples(self._features[self.places(fold)], self.labels(self.rows(fold)))

    def build(self, numbers: GradientNumbers) -> Any:
        mean, variance = self.moments
        dropout = numbers.dropout
        return build_head(len(mean), self.outputs, dropout=dropout, mean=mean, variance=variance, seed=self.seed)

    def load_base(self) -> Any:
        from lamina.models.loading import load_model

        return load_model(self.folder / "backbone.keras")

    def build_final_model(self, network: Any, base: Any) -> Any:
        joined = join(base, network)
        return joined if self.settings.fine_tune else self.finish(joined)

    @cached_property
    def _folds(self) -> "tuple[Fold, Fold]":
        return self.fold(self.train, training=True), self.fold(self.validation, training=False)

    def head(self, numbers: GradientNumbers) -> "Head":
        """Return a new head; with the weights of another run's where the settings say so."""
        from lamina.training.head_steps import Weights
        from lamina.training.heads import Head

        (mean, variance), seed, objective = self.moments, self.seed, self.objective
        folds = self._folds
        head = Head(self.settings, numbers, *folds, mean=mean, variance=variance, seed=seed, objective=objective)
        if self.settings.starts_from_file:
            from lamina.models.weights import load_weights

            like = "a run with as many features and outputs"
            built = self.build(numbers)
            load_weights(built, Path(self.settings.weights), layer=built.name, like=like)
            layers = (built.get_layer(name).get_weights() for name in ("hidden", self.outputs.name))
            head.start_from(Weights(*(values for layer in layers for values in layer)))
        return head

    def learned(self, head: "Head") -> Learned:
        """Return what a head has learned so far, with the weights that it keeps."""

        def make() -> Any:
            built = self.build(head.numbers)
            built.get_layer("hidden").set_weights([head.kept.hidden, head.kept.hidden_bias])
            built.get_layer(self.outputs.name).set_weights([head.kept.outputs, head.kept.outputs_bias])
            return built

        return Learned(history=head.history, make=make, predict=lambda examples: head.predict(examples.features))

    def learn(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        """Train a new head; see `lamina.training.heads.train_head`.

        Raises:
            DivergedError: if the loss is no number any more; its `kept` is what was learned before.
        """
        from lamina.training.heads import train_head

        head = self.head(gradient_numbers(numbers))
        epochs, cache = options.epochs or self.settings.epochs, options.head_cache
        key = self._key(numbers) if cache else ""
        if cache and (saved := cache.load(key, epochs)):
            head.restore(saved)
        try:
            train_head(head, epochs=epochs, on_epoch=options.on_epoch, what=options.what)
        except DivergedError as error:
            error.kept = self.learned(head)
            raise
        finally:
            if cache and head.history:
                cache.save(key, head.state())
        return self.learned(head)

    def learn_final(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        """Train the head, join it to its backbone, and, where the settings say so, fine-tune both from pixels.

        The history of a run with `fine_tune` has one more column, `fine_tuning`: 0 while the head trains alone,
        then 1; epochs count on. `options.epochs` are those of the head. A head is trained again if its fine-tuning
        resumes from a checkpoint.
        """
        fine = self.settings.fine_tune
        if fine is None:
            return super().learn_final(numbers, options)
        from lamina.training.fit import fit

        joined = super().learn_final(numbers, replace(options, on_epoch=_marked(options, 0)))
        history = [row | {"fine_tuning": 0} for row in joined.history]
        unfreeze(joined.network, fine.layers)
        slower = gradient_numbers(numbers).model_copy(update={"learning_rate": fine.learning_rate})
        marked, what = _marked(options, 1), f"{options.what}, fine-tuning"
        more = fit(
            self.trainer(joined.network, slower, fine, self.steps(fine.epochs)),
            self.pictures("train"),
            self.pictures("validation"),
            self.settings,
            replace(options, epochs=fine.epochs, on_epoch=marked, what=what),
            seed=self.seed,
            first_epoch=len(history) + 1,
        )
        return final(self.finish(joined.network), history + [row | {"fine_tuning": 1} for row in more])

    def learn_again(self, numbers: Hyperparameters, options: TrainingOptions) -> Learned:
        return self.learn_final(numbers, options) if self.settings.fine_tune else self.learn(numbers, options)

    def judged_examples(self, fold: str) -> Any:
        return self.pictures(fold) if self.settings.fine_tune else self.examples(fold)

    def _key(self, numbers: Hyperparameters) -> str:
        """Digest of what decides how a head trains, except for how long."""
        settings = {key: value for key, value in self.settings.decides().items() if key not in ("epochs", "fine_tune")}
        code = code_digest("lamina.training.heads")
        return json_digest([settings, numbers.model_dump(), self.seed, self.digest, code, environment()])[:16]


class WholeNetworkLearner(PixelsLearner, OutputLearner):
    """A whole network over pictures."""

    settings: NetworkSettings

    def examples(self, fold: str) -> PictureExamples:
        return self.pictures(fold)

    def build(self, numbers: GradientNumbers) -> Any:
        settings, dropout, seed = self.settings, numbers.dropout, self.seed
        weights = settings.weights
        built = build_network(settings.network, self.width, self.outputs, weights=weights, dropout=dropout, seed=seed)
        compute_in(built, settings.precision)
        if settings.first_size:
            self._check_first_size(settings.first_size)
            accept_any_size(built)
        return built

    def _check_first_size(self, first: int) -> None:
        smallest = BACKBONES[self.settings.network].smallest
        if not smallest <= first < self.width:
            raise UserError(
                f"first_size: {self.settings.network} starts with pictures of {smallest} pixels or more, and grows to "
                f"convert.size, which is {self.width}; got {first}"
            )

    def build_final_model(self, network: Any, base: Any) -> Any:
        return self.finish(with_views(super().build_final_model(network, base), self.settings.views))

    def fresh_examples(self, epoch: int, epochs: int) -> PictureExamples:
        """Return the training examples of an epoch: with fresh warps or smaller pictures, where so configured."""
        examples: PictureExamples = super().fresh_examples(epoch, epochs)
        first = self.settings.first_size
        return replace(examples, side=growing_side(first, self.width, epoch, epochs)) if first else examples


def _marked(options: TrainingOptions, fine_tuning: int) -> Callable[[EpochRow], None]:
    return lambda row: options.on_epoch(row | {"fine_tuning": fine_tuning})


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each feature. No variance is far below the mean variance."""

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(features), _CHUNK):
            yield features[start : start + _CHUNK].astype(np.float64)

    mean = sum(chunk.sum(axis=0) for chunk in chunks()) / len(features)
    variance = sum(((chunk - mean) ** 2).sum(axis=0) for chunk in chunks()) / len(features)
    return mean.astype(np.float32), (variance + 1e-3 * variance.mean()).astype(np.float32)
