"""`tuned.yaml`: the numbers that a run trains with, found by tuning or given in `params.yaml`."""

from pathlib import Path
from typing import Final

from ruamel.yaml import YAML

from lamina.errors import UserError
from lamina.files import staged
from lamina.training.settings import Hyperparameters, RunSettings

LINEAR: Final = ("dropout",)  # numbers on a linear scale; all others are on a logarithmic one


def write_numbers(path: Path, numbers: Hyperparameters) -> None:
    """Write the numbers as YAML; a write that fails leaves no file."""
    with staged(path) as part:
        YAML().dump(numbers.model_dump(), part)


def read_numbers(path: Path, settings: RunSettings) -> Hyperparameters:
    """Read what `write_numbers` wrote; raises UserError where the stage `tune` has not run yet."""
    if not path.exists():
        raise UserError(f"{path}: not found; run the stage tune first")
    return settings.numbers.model_validate(YAML(typ="safe", pure=True).load(path))
