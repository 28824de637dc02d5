"""Settings of runs that give a picture or a text any number of labels."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field, Strict, ValidationError, WrapValidator

from lamina.tasks import output_settings, words_settings
from lamina.tasks.words_settings import CLASSIFIERS, words_class
from lamina.training.settings import RunSettings


def _check_columns(value: Any, validate: Callable[[Any], Any]) -> Any:
    try:
        return validate(value)
    except ValidationError:
        raise ValueError("expected a list of columns of source.metadata, as [seen] or [cat, dog]") from None


Columns: TypeAlias = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Strict(False),
    Field(min_length=1),
    WrapValidator(_check_columns),
]


class LabelSettings(RunSettings):
    """A run that learns labels.

    Attributes:
        targets: columns of `source.metadata`: one whose cells list labels (`cat | dog`), or one per label with 1 and 0
            (`lamina.inputs.targets.read_label_sets`).
    """

    fixed = ("targets",)

    targets: Columns


class HeadSettings(output_settings.HeadSettings, LabelSettings):
    """A head that gives labels."""


class NetworkSettings(output_settings.NetworkSettings, LabelSettings):
    """A whole network that gives labels."""


class DenseSettings(words_settings.DenseSettings, LabelSettings):
    """A dense network over words that gives labels."""


class LinearSettings(words_settings.ClassifierSettings, LabelSettings):
    """Linear models over words that give labels."""


def settings_class(given: Mapping[str, Any]) -> type[RunSettings]:
    """Return the class of a run's settings, by its input, and for words by its network."""
    kind = str(given.get("input", "")).partition("/")[0]
    if kind == "words":
        return words_class(given, DenseSettings, LinearSettings, CLASSIFIERS)
    return HeadSettings if kind == "features" else NetworkSettings
