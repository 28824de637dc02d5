"""Settings of runs whose network answers each picture with some numbers: a head over features, or a whole network."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lamina.models.backbones import BACKBONES, Precision
from lamina.models.views import Views
from lamina.tasks.pixel_recipe import PixelRecipe
from lamina.training.settings import MOST_EPOCHS, Augmentation, GradientSettings, Rate, Recipe, among


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


class HeadSettings(GradientSettings):
    """A head over features of a frozen backbone; then, with `fine_tune`, the backbone's last layers, too.

    `weights`, where they are those of another run, start the head: a run with as many features and the same outputs.
    """

    fixed = ("fine_tune",)

    fine_tune: FineTune | None = None


class NetworkSettings(PixelRecipe, GradientSettings):
    """A whole network over pixels, all of which learns.

    Attributes:
        network: any of `docs/networks.md`; `weights` start its backbone.
        precision: what its layers compute in. Weights, their updates and the last layer are float32 either way.
        augmentation: plan: the copies of the section `augment`, the same in every epoch; fresh: as many rows, warped
            again in every epoch within the ranges of that section.
        views: flips, turns or crops of a picture that the saved model averages over (`lamina.models.views`).
        first_size: side in pixels of the pictures in the first quarter of the epochs; it grows to the full side in the
            last quarter (progressive resizing: Tan and Le, ICML 2021). null: always the full side.
    """

    fixed = ("views",)

    network: Annotated[str, among("network", BACKBONES)]
    precision: Precision = "float32"
    augmentation: Augmentation = "plan"
    views: Views = 1
    first_size: Annotated[int, Field(ge=8, le=2048)] | None = None

    @model_validator(mode="after")
    def _any_size(self) -> Self:
        if self.first_size and BACKBONES[self.network].hidden:
            raise ValueError(f"first_size: {self.network} takes pictures of one size only; leave first_size out")
        return self
