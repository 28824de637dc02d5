"""The names of the measures and where better values lie: what training and tuning need of `lamina.results.measures`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

MeasureName: TypeAlias = Literal["accuracy", "f1", "mae", "mse"]

HIGHER_IS_BETTER: Final[Mapping[MeasureName, bool]] = MappingProxyType(
    {"accuracy": True, "f1": True, "mae": False, "mse": False}
)
