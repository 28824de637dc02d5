"""What a run that predicts a number of a text learns from words: a dense network, or ridge regression."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.tasks.regress.learning import NumberLearner
from lamina.tasks.words_learner import LinearLearner, WordsLearner
from lamina.tasks.words_settings import LinearSettings
from lamina.training.linear import LinearModel, fit_ridge


class DenseNumberLearner(WordsLearner, NumberLearner):
    """A dense network that predicts a number."""


class LinearNumberLearner(LinearLearner, NumberLearner):
    """Ridge regression of the standardized number; the saved model predicts it in its own unit."""

    def fit(self, penalty: float) -> LinearModel:
        return fit_ridge(self.train.matrix, self._standardized(self.train.labels[:, 0]), penalty=penalty)

    def answer(self, fitted: LinearModel, matrix: Any) -> np.ndarray:
        mean, deviation = self.moments_of_target
        return super().answer(fitted, matrix) * deviation + mean

    def scores(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the mean squared error of the standardized number, and the mean absolute error in its own unit."""
        errors = self._standardized(answers) - self._standardized(labels)
        return {"loss": float((errors**2).mean()), "mae": float(np.abs(answers - labels).mean())}

    def _standardized(self, values: np.ndarray) -> np.ndarray:
        mean, deviation = self.moments_of_target
        return (values - mean) / deviation


def open_words_learner(known: Mapping[str, Any]) -> NumberLearner:
    """Open what a run learns from words; known: the fields of a `MetadataLearner`."""
    return (LinearNumberLearner if isinstance(known["settings"], LinearSettings) else DenseNumberLearner)(**known)
