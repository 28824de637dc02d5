"""What a run that classifies texts learns from words: a dense network, or a linear classifier."""

from functools import cached_property
from typing import Any, ClassVar, Final, cast

import numpy as np

from lamina.inputs.features import fold_rows
from lamina.inputs.index import input_digest, input_width
from lamina.inputs.word_examples import WordExamples
from lamina.inputs.words import read_matrix
from lamina.models.networks import Outputs, build_words_network, class_outputs
from lamina.tasks.classify.learner import ClassLearner, ClassNetworkLearner, class_numbers
from lamina.tasks.classify.settings import DenseSettings
from lamina.tasks.words_settings import LinearNumbers, LinearSettings
from lamina.training.history import EpochRow
from lamina.training.learner import DEFAULT_OPTIONS, Learned, Setup, TrainingOptions
from lamina.training.linear import LinearClassifier, fit_logistic, fit_nbsvm
from lamina.training.settings import GradientNumbers, Hyperparameters

_SMALLEST: Final = 1e-7  # probability in a logarithm, as Keras has it


class WordsLearner(ClassLearner):
    """A classifier over the matrix that the stage `words` wrote."""

    @cached_property
    def digest(self) -> str:
        return input_digest(self.folder, self.folders)

    @cached_property
    def width(self) -> int:
        return input_width(self.folder)

    @cached_property
    def _matrix(self) -> Any:
        return read_matrix(self.folder)

    def examples(self, fold: str) -> WordExamples:
        rows = fold_rows(self.manifest, fold)
        return WordExamples(self._matrix[rows], class_numbers(self.manifest, self.names)[rows])


class LinearLearner(WordsLearner):
    """A linear classifier, fitted in one go: its history has one row."""

    is_random: ClassVar[bool] = False

    settings: LinearSettings

    def learn(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        train, strength = self.train, 1 / cast(LinearNumbers, numbers).penalty
        classes = len(self.names)
        if self.settings.network == "nb_svm":
            fitted = fit_nbsvm(train.matrix, train.labels, classes, strength=strength, seed=self.seed)
        else:
            fitted = fit_logistic(train.matrix, train.labels, classes, strength=strength)
        row: EpochRow = {"epoch": 1}
        for fold, examples in (("train", train), ("validation", self.validation)):
            row |= _scores(fold, fitted.probabilities(examples.matrix), examples.labels)
        options.on_epoch(row)
        return Learned(
            history=[row],
            make=lambda: build_linear(fitted),
            predict=lambda examples: fitted.probabilities(examples.matrix).astype(np.float32),
        )


class DenseLearner(WordsLearner, ClassNetworkLearner):
    """A dense network over words."""

    settings: DenseSettings

    def build(self, numbers: GradientNumbers) -> Any:
        return build_dense(int(self._matrix.shape[1]), len(self.names), dropout=numbers.dropout, seed=self.seed)


def open_words_learner(setup: Setup, names: list[str]) -> ClassLearner:
    """Open what a run learns from words; names: of the classes."""
    learner = LinearLearner if isinstance(setup.settings, LinearSettings) else DenseLearner
    return learner(**vars(setup), names=names)


def build_dense(width: int, classes: int, *, dropout: float, seed: int) -> Any:
    """Build a dense network over words; of two classes one sigmoid output decides.

    Returns:
        A Keras model from (n, width) to (n, classes) probabilities.
    """
    if classes > 2:
        return build_words_network(width, class_outputs(classes), dropout=dropout, seed=seed)
    from lamina.models.keras_runtime import keras

    one = Outputs(units=1, activation="sigmoid", name="classes")
    second = build_words_network(width, one, dropout=dropout, seed=seed)
    both = keras.layers.Concatenate(name="both")([1.0 - second.output, second.output])
    return keras.Model(second.input, both, name="dense")


def build_linear(fitted: LinearClassifier) -> Any:
    """Build a linear classifier as a Keras model, from (n, width) to (n, classes) probabilities."""
    from lamina.models.keras_runtime import keras

    width, classes = fitted.coef.shape
    words = keras.Input((width,), name="words")
    layer = keras.layers.Dense(classes, activation=fitted.link, name="classes")
    x = layer(words)
    layer.set_weights([fitted.coef.astype(np.float32), fitted.bias.astype(np.float32)])
    if fitted.link == "sigmoid":
        x = x / keras.ops.sum(x, axis=-1, keepdims=True)
    return keras.Model(words, x, name="linear")


def _scores(fold: str, probabilities: np.ndarray, labels: np.ndarray) -> EpochRow:
    """Mean cross-entropy and accuracy of a fold."""
    given = np.maximum(probabilities[np.arange(len(labels)), labels], _SMALLEST)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return {f"{fold}_loss": float(-np.log(given).mean()), f"{fold}_accuracy": accuracy}
