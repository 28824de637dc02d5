"""The recipe of runs that train a whole network over pixels, from weights of their own."""

from typing import Self

from pydantic import model_validator

from lamina.models.backbones import RANDOM
from lamina.training.settings import Recipe


class PixelRecipe(Recipe):
    """A recipe next to the run's `weights`: batch normalization can be frozen only where these have statistics."""

    @model_validator(mode="after")
    def _has_statistics(self) -> Self:
        if self.batch_norm == "frozen" and getattr(self, "weights", RANDOM) == RANDOM:
            raise ValueError(
                f"batch_norm: frozen keeps the statistics of the initial weights, and {RANDOM} has none; write train, "
                "or give weights that were trained"
            )
        return self
