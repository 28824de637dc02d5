"""`tuned.yaml`: the numbers that tuning found, or that params.yaml gave, for training to use."""

from pathlib import Path

from ruamel.yaml import YAML

from lamina.errors import UserError
from lamina.files import staged
from lamina.tasks.runs import Run, Tuned


def given(run: Run) -> Tuned:
    """The run's own numbers, where none is left open."""
    return Tuned(learning_rate=run.learning_rate, dropout=run.dropout, decay=run.decay)  # type: ignore[arg-type]


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Write the numbers as YAML, whole or not at all."""
    with staged(path) as part:
        YAML().dump(tuned.model_dump(), part)


def read_tuned(path: Path) -> Tuned:
    """Read what `write_tuned` wrote. Raises UserError where the tune stage has not run yet."""
    if not path.exists():
        raise UserError(f"{path}: not found; run the tune stage first")
    return Tuned.model_validate(YAML(typ="safe", pure=True).load(path))
