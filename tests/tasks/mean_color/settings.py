"""Settings of runs that predict a picture's mean color."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lamina.training.settings import Hyperparameters, RunSettings, or_tune


class MeanColorNumbers(Hyperparameters):
    """What least squares is tuned by: its L2 penalty."""

    penalty: Annotated[float, Field(ge=0, le=1)]


class MeanColorSettings(RunSettings):
    """Least squares from the mean of red, green and blue to that of L, a and b."""

    numbers = MeanColorNumbers

    penalty: Annotated[float, Field(ge=0, le=1)] | Annotated[Literal["tune"], or_tune("0 to 1")]


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings."""
    return MeanColorSettings
