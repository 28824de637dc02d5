"""`tuned.yaml`: the numbers that a run trains with, found by tuning or given in `params.yaml`.

Other settings that tuning found are in it, too.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ruamel.yaml import YAML

from lamina.errors import UserError
from lamina.files import staged
from lamina.training.settings import Hyperparameters, RunSettings

LINEAR: Final = ("dropout",)  # numbers on a linear scale; all others are on a logarithmic one


def write_numbers(path: Path, numbers: Hyperparameters, found: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Write the numbers, and other settings that were found, as YAML; a write that fails leaves no file."""
    with staged(path) as part:
        YAML().dump(numbers.model_dump() | dict(found), part)


def read_numbers(path: Path, settings: RunSettings) -> Hyperparameters:
    """Read what `write_numbers` wrote; raises UserError where the stage `tune` has not run yet."""
    tuned = _read(path)
    return settings.numbers.model_validate({name: tuned.get(name) for name in settings.numbers.model_fields})


def read_settings(path: Path, settings: RunSettings) -> RunSettings:
    """Return a run's settings with those that the stage `tune` found; raises UserError where it has not run yet."""
    tuned = _read(path) if settings.tune else {}
    if missing := [name for name in settings.tune if name not in tuned]:
        raise UserError(f"{path}: has no {missing[0]}; run the stage tune again")
    return settings.with_settings({name: tuned[name] for name in settings.tune}) if settings.tune else settings


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path}: not found; run the stage tune first")
    tuned: dict[str, Any] = YAML(typ="safe", pure=True).load(path)
    return tuned
