"""What a run that gives texts labels learns from words: a dense network, or a linear model for each label."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np

from lamina.inputs.word_examples import WordExamples
from lamina.maths.label_scores import DEFAULT, f1_of_each
from lamina.tasks.multilabel.learning import LabelLearner
from lamina.tasks.multilabel.settings import LinearSettings
from lamina.tasks.words_learner import WordsOutputLearner
from lamina.tasks.words_settings import LinearNumbers
from lamina.training.history import EpochRow
from lamina.training.learner import DEFAULT_OPTIONS, Learned, TrainingOptions, final
from lamina.training.linear import fit_logistic, fit_nbsvm
from lamina.training.settings import Hyperparameters

_SMALLEST = 1e-7  # probability in a logarithm, as Keras has it


class DenseLabelLearner(WordsOutputLearner, LabelLearner):
    """A dense network that gives labels."""


class LinearLabelLearner(WordsOutputLearner, LabelLearner):
    """A linear model for each label, fitted in one go: its history has one row."""

    is_random: ClassVar[bool] = False

    def learn(self, numbers: Hyperparameters, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        strength = 1 / cast(LinearNumbers, numbers).penalty
        fits = [self._fit(self.train.labels[:, place], strength) for place in range(len(self.classes))]
        coef, bias = np.column_stack([one for one, _ in fits]), np.array([one for _, one in fits])
        network = build_linear(coef, bias)
        row: EpochRow = {"epoch": 1}
        for fold, examples in (("train", self.train), ("validation", self.validation)):
            row |= _scores(fold, examples.predict(network), examples)
        options.on_epoch(row)
        return final(network, [row])

    def _fit(self, flags: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
        """Return the coefficients of one label, (width,), and its bias."""
        labels, matrix = flags.astype(np.int32), self.train.matrix
        if self.settings.network == "nb_svm":
            fitted = fit_nbsvm(matrix, labels, 2, strength=strength, seed=self.seed)
        else:
            fitted = fit_logistic(matrix, labels, 2, strength=strength)
        # a softmax of two classes is the logistic function of their difference
        return fitted.coef[:, 1] - fitted.coef[:, 0], float(fitted.bias[1] - fitted.bias[0])


def build_linear(coef: np.ndarray, bias: np.ndarray) -> Any:
    """Build linear models, (width, labels) and (labels,), as a Keras model from (n, width) to probabilities."""
    from lamina.models.keras_runtime import keras

    words = keras.Input((coef.shape[0],), name="words")
    layer = keras.layers.Dense(coef.shape[1], activation="sigmoid", name="labels")
    network = keras.Model(words, layer(words), name="linear")
    layer.set_weights([coef.astype(np.float32), bias.astype(np.float32)])
    return network


def open_words_learner(known: Mapping[str, Any]) -> LabelLearner:
    """Open what a run learns from words; known: the fields of a `MetadataLearner`."""
    return (LinearLabelLearner if isinstance(known["settings"], LinearSettings) else DenseLabelLearner)(**known)


def _scores(fold: str, shares: np.ndarray, examples: WordExamples) -> EpochRow:
    """Mean binary cross-entropy, and F1 per text at the threshold 0.5, of a fold."""
    given = np.where(examples.labels > 0, shares, 1 - shares)
    f1 = f1_of_each(examples.labels > 0, shares > DEFAULT)
    return {f"{fold}_loss": float(-np.log(np.maximum(given, _SMALLEST)).mean()), f"{fold}_f1": float(f1.mean())}
