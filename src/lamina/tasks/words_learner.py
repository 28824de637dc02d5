"""What a run over words learns, whatever its task: a dense network, or a linear model."""

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Final, cast

import numpy as np

from lamina.inputs.index import input_width
from lamina.inputs.word_examples import WordExamples
from lamina.inputs.words import read_matrix
from lamina.models.networks import build_words_network
from lamina.tasks.output_learner import OutputLearner
from lamina.tasks.words_settings import LinearNumbers
from lamina.training.history import EpochRow
from lamina.training.learner import DEFAULT_OPTIONS, Learned, TrainingOptions
from lamina.training.linear import LinearModel, build_linear
from lamina.training.settings import GradientNumbers, Hyperparameters

_SMALLEST: Final = 1e-7  # probability in a logarithm, as Keras has it


class WordsLearner(OutputLearner):
    """A network over the matrix that the stage `words` wrote: a dense one, if a subclass does not say otherwise."""

    @cached_property
    def width(self) -> int:
        return input_width(self.folder)

    @cached_property
    def _matrix(self) -> Any:
        return read_matrix(self.folder)

    def examples(self, fold: str) -> WordExamples:
        return WordExamples(self._matrix[self.places(fold)], self.labels(self.rows(fold)))

    def build(self, numbers: GradientNumbers) -> Any:
        return build_words_network(self.width, self.outputs, dropout=numbers.dropout, seed=self.seed)

    def build_final_model(self, network: Any, base: Any) -> Any:
        return self.finish(network)


class LinearLearner(WordsLearner):
    """A linear model over words, fitted in one go: its history has one row. It answers without TensorFlow."""

    is_random: ClassVar[bool] = False

    @abstractmethod
    def fit(self, penalty: float) -> LinearModel:
        """Fit the model to the training fold."""

    def answer(self, fitted: LinearModel, matrix: Any) -> np.ndarray:
        """Return what the saved model gives for rows of words, (n, width) sparse."""
        return fitted.predict(matrix)

    @abstractmethod
    def scores(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the mean loss and the measure of a fold, from answers and its true `labels`."""

    def learn(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        fitted = self.fit(cast(LinearNumbers, numbers).penalty)
        row: EpochRow = {"epoch": 1}
        for fold, examples in (("train", self.train), ("validation", self.validation)):
            found = self.scores(self.answer(fitted, examples.matrix), examples.labels)
            row |= {f"{fold}_{name}": value for name, value in found.items()}
        options.on_epoch(row)
        return Learned(
            history=[row],
            make=lambda: self.finish(build_linear(fitted, self.outputs.name)),
            predict=lambda examples: self.answer(fitted, examples.matrix).astype(np.float32),
        )

    def learn_final(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        return self.learn(numbers, options)


def log_loss(given: np.ndarray) -> float:
    """Return the mean cross-entropy. given: probabilities of the true answers, any shape."""
    return float(-np.log(np.maximum(given, _SMALLEST)).mean())
