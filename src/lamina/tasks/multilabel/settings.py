"""Settings of runs that give a picture any number of labels."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, Strict

from lamina.tasks import output_settings
from lamina.training.settings import GradientSettings, RunSettings


class LabelSettings(GradientSettings):
    """A run that learns labels.

    Attributes:
        targets: columns of `source.metadata`: one whose cells list labels (`cat | dog`), or one per label with 1 and 0
            (`lamina.inputs.targets.read_label_sets`).
    """

    targets: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(False), Field(min_length=1)]


class HeadSettings(output_settings.HeadSettings, LabelSettings):
    """A head that gives labels."""


class NetworkSettings(output_settings.NetworkSettings, LabelSettings):
    """A whole network that gives labels."""


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings, by its input."""
    return HeadSettings if str(given.get("input", "")).startswith("features/") else NetworkSettings
