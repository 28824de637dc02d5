"""What a run that classifies learns: which network, from which examples.

Importing this imports no TensorFlow: a head trains without it (`lamina.training.heads`).
"""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from lamina.errors import UserError
from lamina.inputs.features import FeatureExamples
from lamina.inputs.mixing import Mixing
from lamina.inputs.pixels import PictureExamples
from lamina.tasks.classify.learner import ClassLearner, ClassNetworkLearner, class_names
from lamina.tasks.classify.settings import DenseSettings, HeadSettings, NetworkSettings
from lamina.tasks.output_learner import HeadLearner, WholeNetworkLearner
from lamina.tasks.words_settings import LinearSettings
from lamina.text import one_line
from lamina.training.learner import Setup

if TYPE_CHECKING:
    from lamina.training.head_steps import Fold
    from lamina.training.objectives import ClassObjective


class ClassHeadLearner(ClassNetworkLearner, HeadLearner):
    """A head that classifies."""

    settings: HeadSettings

    @property
    def objective(self) -> "ClassObjective":
        from lamina.training.objectives import ClassObjective

        return ClassObjective()

    def fold(self, examples: FeatureExamples, *, training: bool) -> "Fold":
        from lamina.training.heads import make_class_fold

        features, labels, classes = examples.features, examples.labels, len(self.names)
        if not training:
            return make_class_fold(features, labels, classes)
        smoothing, weighting = self.settings.label_smoothing, self.settings.class_weights
        return make_class_fold(features, labels, classes, smoothing=smoothing, weighting=weighting)


class NetworkClassLearner(WholeNetworkLearner, ClassNetworkLearner):
    """A whole network that classifies."""

    settings: NetworkSettings

    def fresh_examples(self, epoch: int, epochs: int) -> PictureExamples:
        """Return the training examples of an epoch, mixed in batches where the settings say so."""
        settings, examples = self.settings, super().fresh_examples(epoch, epochs)
        mixing = Mixing(mixup=settings.mixup, cutmix=settings.cutmix, classes=len(self.names))
        return replace(examples, mixing=mixing, draw=(self.seed, epoch)) if mixing else examples


def open_learner(setup: Setup) -> ClassLearner:
    """Open what a run learns; see `lamina.tasks.task.Task.open_learner`.

    Raises:
        UserError: if a class has no training picture. A class without a validation picture gets a warning.
    """
    _demand_every_class(setup.manifest)
    names = class_names(setup.manifest)
    match setup.settings:
        case HeadSettings():
            import lamina.training.heads  # noqa: F401  # JAX, before another thread loads TensorFlow

            return ClassHeadLearner(**vars(setup), names=names)
        case DenseSettings() | LinearSettings():
            from lamina.tasks.classify.words_learning import open_words_learner

            return open_words_learner(vars(setup) | {"names": names})
    return NetworkClassLearner(**vars(setup), names=names)


def _demand_every_class(manifest: pd.DataFrame) -> None:
    counts = pd.crosstab(manifest["label"], manifest["fold"])
    for fold in ("train", "validation"):
        missing = ", ".join(counts.index[counts[fold] == 0]) if fold in counts else "any class"
        problem = f"nothing of {missing} in the fold {fold}"
        if missing and (fold == "train" or fold not in counts):
            raise UserError(f"{problem}; add some of other origins, or leave the class out with source.classes")
        if missing:
            print(one_line(f"warning: {problem}; validation scores say nothing about it"), file=sys.stderr)
