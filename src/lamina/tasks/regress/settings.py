"""Settings of runs that predict a number from a picture."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from lamina.tasks import output_settings
from lamina.training.settings import RunSettings


class NumberSettings(output_settings.MetadataSettings):
    """A run that learns a number. target: a column of `source.metadata`, in any unit."""

    target: Annotated[str, Field(min_length=1)]


class HeadSettings(output_settings.HeadSettings, NumberSettings):
    """A head that predicts a number."""


class NetworkSettings(output_settings.NetworkSettings, NumberSettings):
    """A whole network that predicts a number."""


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings, by its input."""
    return HeadSettings if str(given.get("input", "")).startswith("features/") else NetworkSettings
