"""Settings of runs that predict a number from a picture or a text."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lamina.tasks import output_settings, words_settings
from lamina.tasks.words_settings import DENSE, RIDGE, among_words, words_class
from lamina.training.settings import RunSettings


class NumberSettings(RunSettings):
    """A run that learns a number. target: a column of `source.metadata`, in any unit."""

    fixed = ("target",)

    target: Annotated[str, Field(min_length=1)]


class HeadSettings(output_settings.HeadSettings, NumberSettings):
    """A head that predicts a number."""


class NetworkSettings(output_settings.NetworkSettings, NumberSettings):
    """A whole network that predicts a number."""


class DenseSettings(words_settings.DenseSettings, NumberSettings):
    """A dense network over words that predicts a number."""

    network: Annotated[Literal["dense"], among_words(DENSE, RIDGE)]


class LinearSettings(words_settings.RidgeSettings, NumberSettings):
    """Ridge regression over words."""


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings, by its input, and for words by its network."""
    kind = str(given.get("input", "")).partition("/")[0]
    if kind == "words":
        return words_class(given, DenseSettings, LinearSettings, (RIDGE,))
    return HeadSettings if kind == "features" else NetworkSettings
