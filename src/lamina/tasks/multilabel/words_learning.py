"""What a run that gives texts labels learns from words: a dense network, or a linear model for each label."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.maths.label_scores import DEFAULT, f1_of_each
from lamina.tasks.multilabel.learning import LabelLearner
from lamina.tasks.words_learner import LinearLearner, WordsLearner, log_loss
from lamina.tasks.words_settings import LinearSettings
from lamina.training.linear import LinearModel, fit_classifier


class DenseLabelLearner(WordsLearner, LabelLearner):
    """A dense network that gives labels."""


class LinearLabelLearner(LinearLearner, LabelLearner):
    """A linear model for each label."""

    def fit(self, penalty: float) -> LinearModel:
        fits = [self._fit(self.train.labels[:, place], penalty) for place in range(len(self.classes))]
        coef, bias = np.column_stack([one for one, _ in fits]), np.array([one for _, one in fits])
        return LinearModel(coef=coef, bias=bias, link="sigmoid")

    def _fit(self, flags: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
        """Return the coefficients of one label, (width,), and its bias."""
        labels, matrix = flags.astype(np.int32), self.train.matrix
        fitted = fit_classifier(self.settings.network, matrix, labels, 2, penalty=penalty, seed=self.seed)
        # a softmax of two classes is the logistic function of their difference
        return fitted.coef[:, 1] - fitted.coef[:, 0], float(fitted.bias[1] - fitted.bias[0])

    def scores(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the mean binary cross-entropy, and the F1 per text at the threshold 0.5."""
        given = np.where(labels > 0, answers, 1 - answers)
        return {"loss": log_loss(given), "f1": float(f1_of_each(labels > 0, answers > DEFAULT).mean())}


def open_words_learner(known: Mapping[str, Any]) -> LabelLearner:
    """Open what a run learns from words; known: the fields of a `MetadataLearner`."""
    return (LinearLabelLearner if isinstance(known["settings"], LinearSettings) else DenseLabelLearner)(**known)
