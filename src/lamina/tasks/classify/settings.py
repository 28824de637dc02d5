"""Settings of runs that classify: what they have in common, and what depends on their input."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from lamina.maths.class_weights import ClassWeights
from lamina.tasks import output_settings, words_settings
from lamina.tasks.words_settings import CLASSIFIERS, ClassifierSettings, words_class
from lamina.training.settings import GradientSettings, RunSettings, Share

Alpha: TypeAlias = Annotated[float, Field(ge=0, le=10)]


class ClassifySettings(GradientSettings):
    """A run that learns to name classes by gradient descent.

    Attributes:
        class_weights: of the training losses (`lamina.maths.class_weights`).
        label_smoothing: share of each label that is spread evenly over all classes.

    The validation loss is neither weighted nor smoothed, so that runs can be compared by it.
    """

    class_weights: ClassWeights = "none"
    label_smoothing: Share = 0.0


class HeadSettings(output_settings.HeadSettings, ClassifySettings):
    """A head that classifies."""


class NetworkSettings(output_settings.NetworkSettings, ClassifySettings):
    """A whole network that classifies.

    Attributes:
        mixup, cutmix: mix the pictures and labels of a batch (`lamina.inputs.mixing`): alpha; 0: never.
    """

    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0


class DenseSettings(words_settings.DenseSettings, ClassifySettings):
    """A dense network over words that classifies."""


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings, by its input, and for words by its network."""
    kind = str(given.get("input", "")).partition("/")[0]
    if kind == "words":
        return words_class(given, DenseSettings, ClassifierSettings, CLASSIFIERS)
    return HeadSettings if kind == "features" else NetworkSettings
