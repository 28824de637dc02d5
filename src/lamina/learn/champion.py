"""The champion of a system: the accepted run that is best by its validation pictures.

Not by its test pictures: the best of several by test accuracy would owe part of it to luck with these very pictures,
and what the test says of it would no longer hold for new ones.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lamina.errors import UserError
from lamina.files import file_digest

REMEDY = "make it with `dvc repro`, or fetch it with `dvc pull`"


class Champion(BaseModel):
    """What `baselines/champion.json` says: run, its key, SHA-256 of its `model.keras`, and what it was chosen by."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: str
    key: str
    model: str
    validation_accuracy: float = Field(ge=0, le=1)

    def lies_in(self, system: Path) -> bool:
        """Whether `models/RUN` holds what was accepted, and not what was trained since, or nothing."""
        try:
            return self == _contender(system, self.run)
        except UserError:
            return False


def champion_path(system: Path) -> Path:
    """Where the champion is written down."""
    return system / "baselines" / "champion.json"


def choose(system: Path, runs: Iterable[str]) -> Champion:
    """The run with the highest validation accuracy, equals by name.

    runs: at least one, trained and evaluated; raises UserError naming what is missing.
    """
    return min((_contender(system, run) for run in runs), key=lambda one: (-one.validation_accuracy, one.run))


def read_champion(system: Path) -> Champion | None:
    """The accepted champion; None where none was accepted yet. Raises UserError for a broken file."""
    path = champion_path(system)
    try:
        return Champion.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        said = error.errors()[0]
        where = ".".join(map(str, said["loc"]))
        raise UserError(f"{path}: {where} {said['msg']}; restore it, or renew it with `lamina gate --accept`") from None


def _contender(system: Path, run: str) -> Champion:
    folder = system / "models" / run
    try:
        return Champion(
            run=run,
            key=_json(folder / "record.json")["key"],
            model=file_digest(folder / "model.keras"),
            validation_accuracy=_json(folder / "metrics.json")["validation"]["accuracy"],
        )
    except FileNotFoundError as error:
        raise UserError(f"no {error.filename}; {REMEDY}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: record.json or metrics.json is broken ({error!r}); {REMEDY}") from None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
