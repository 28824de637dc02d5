"""What a run that classifies texts learns from words: a dense network, or a linear classifier."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.models.networks import Outputs, build_words_network, class_outputs
from lamina.tasks.classify.learner import ClassLearner, ClassNetworkLearner
from lamina.tasks.words_learner import LinearLearner, WordsLearner, log_loss
from lamina.tasks.words_settings import LinearSettings
from lamina.training.linear import LinearModel, fit_classifier
from lamina.training.settings import GradientNumbers


class DenseClassLearner(WordsLearner, ClassNetworkLearner):
    """A dense network that classifies."""

    def build(self, numbers: GradientNumbers) -> Any:
        return build_dense(self.width, len(self.names), dropout=numbers.dropout, seed=self.seed)


class LinearClassLearner(LinearLearner, ClassNetworkLearner):
    """A linear classifier."""

    settings: Any

    def fit(self, penalty: float) -> LinearModel:
        network, train = self.settings.network, self.train
        return fit_classifier(network, train.matrix, train.labels, len(self.names), penalty=penalty, seed=self.seed)

    def scores(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the mean cross-entropy and the accuracy."""
        right = answers.argmax(axis=1) == labels
        return {"loss": log_loss(answers[np.arange(len(labels)), labels]), "accuracy": float(right.mean())}


def open_words_learner(known: Mapping[str, Any]) -> ClassLearner:
    """Open what a run learns from words; known: the fields of a `ClassLearner`."""
    return (LinearClassLearner if isinstance(known["settings"], LinearSettings) else DenseClassLearner)(**known)


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
