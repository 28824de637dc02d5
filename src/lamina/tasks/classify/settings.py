"""Settings of runs that classify: what they have in common, and what depends on their input."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from lamina.maths.class_weights import ClassWeights
from lamina.models.backbones import BACKBONES, Precision
from lamina.models.views import Views
from lamina.tasks.pixel_recipe import PixelRecipe
from lamina.training.settings import (
    MOST_EPOCHS,
    Augmentation,
    GradientSettings,
    Hyperparameters,
    Rate,
    Recipe,
    RunSettings,
    Share,
    among,
    or_tune,
)

Alpha: TypeAlias = Annotated[float, Field(ge=0, le=10)]


class FineTune(Recipe):
    """Training that follows the head's: the backbone's last layers learn with the head, from pixels.

    Attributes:
        layers: how many layers learn, counted from the end of the backbone. Only layers with trained weights count
            (convolutions and the like). Batch normalisations neither count nor learn: they stay in inference mode.
        epochs: how many.
        learning_rate: a small one. The decay is the run's, from its start again.
        batch_norm: stays frozen.

    The other settings are those of `lamina.training.settings.Recipe`.
    """

    layers: int = Field(ge=1, le=10_000)
    epochs: int = Field(ge=1, le=MOST_EPOCHS)
    learning_rate: Rate
    batch_norm: Literal["frozen"] = "frozen"


class ClassifySettings(GradientSettings):
    """A run that learns to name classes by gradient descent.

    Attributes:
        class_weights: of the training losses (`lamina.maths.class_weights`).
        label_smoothing: share of each label that is spread evenly over all classes.

    The validation loss is neither weighted nor smoothed, so that runs can be compared by it.
    """

    class_weights: ClassWeights = "none"
    label_smoothing: Share = 0.0


class HeadSettings(ClassifySettings):
    """A head over features of a frozen backbone; then, with `fine_tune`, the backbone's last layers, too.

    `weights`, where they are those of another run, start the head: a run with as many features and the same classes.
    """

    fine_tune: FineTune | None = None


class NetworkSettings(PixelRecipe, ClassifySettings):
    """A whole network over pixels, all of which learns.

    Attributes:
        network: any of `docs/networks.md`; `weights` start its backbone.
        precision: what its layers compute in. Weights, their updates and the softmax are float32 either way.
        augmentation: plan: the copies of the section `augment`, the same in every epoch; fresh: as many rows, warped
            again in every epoch within the ranges of that section.
        views: flips, turns or crops of a picture that the saved model averages over (`lamina.models.views`).
        first_size: side in pixels of the pictures in the first quarter of the epochs; it grows to the full side in the
            last quarter (progressive resizing: Tan and Le, ICML 2021). null: always the full side.
        mixup, cutmix: mix the pictures and labels of a batch (`lamina.inputs.mixing`): alpha; 0: never.
    """

    network: Annotated[str, among("network", BACKBONES)]
    precision: Precision = "float32"
    augmentation: Augmentation = "plan"
    views: Views = 1
    first_size: Annotated[int, Field(ge=8, le=2048)] | None = None
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0

    @model_validator(mode="after")
    def _any_size(self) -> Self:
        if self.first_size and BACKBONES[self.network].hidden:
            raise ValueError(f"first_size: {self.network} takes pictures of one size only; leave first_size out")
        return self


class DenseSettings(ClassifySettings):
    """A dense network over words: Dense(16, ReLU) twice, then the classes.

    Source: F. Chollet, Deep Learning with Python, section 4.1 (film reviews).
    """

    weights: Literal["weights/random"] = "weights/random"
    network: Literal["dense"]


class LinearNumbers(Hyperparameters):
    """What a linear classifier is tuned by. penalty: of large coefficients (1 / C of scikit-learn)."""

    penalty: Annotated[float, Field(gt=0, le=1e6)]


class LinearSettings(RunSettings):
    """A linear classifier over words, solved to the end: the baseline that any other text classifier must beat.

    Attributes:
        network: logistic_regression, or nb_svm (`lamina.training.linear`).
        penalty: of large coefficients; a number, or tune.
    """

    numbers = LinearNumbers

    weights: Literal["weights/random"] = "weights/random"
    network: Literal["logistic_regression", "nb_svm"]
    penalty: Annotated[
        Annotated[float, Field(gt=0, le=1e6)] | Literal["tune"], or_tune("0 (excluded) to 1,000,000")
    ] = 1.0


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings, by its input, and for words by its network."""
    kind = str(given.get("input", "")).partition("/")[0]
    if kind == "words":
        return DenseSettings if given.get("network") == "dense" else LinearSettings
    return HeadSettings if kind == "features" else NetworkSettings
