"""The champion of a system: the accepted run that is best by its validation pictures.

Not by its test pictures: the best of several by test score would owe part of it to luck with these very pictures, and
its test score would no longer hold for new ones.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lamina.errors import UserError
from lamina.files import file_digest
from lamina.results.measures import MEASURES, MeasureName

REMEDY = "make it with `dvc repro`, or fetch it with `dvc pull`"


class Champion(BaseModel):
    """What `baselines/champion.json` says: run, its key, SHA-256 of its `model.keras`, and what it was chosen by.

    validation: the measure on the validation pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: str
    key: str
    model: str
    measure: MeasureName
    validation: float = Field(ge=0, allow_inf_nan=False)

    def lies_in(self, system: Path) -> bool:
        """Whether `models/RUN` holds what was accepted, and not what was trained since, or nothing."""
        try:
            return self == _contender(system, self.run, self.measure)
        except UserError:
            return False


def champion_path(system: Path) -> Path:
    """Where the champion is written down."""
    return system / "baselines" / "champion.json"


def choose(system: Path, runs: Iterable[str], measure: MeasureName) -> Champion:
    """Return the best of some runs by their validation pictures; equal ones by name.

    Args:
        system: the system's folder.
        runs: at least one, all trained and evaluated.
        measure: of all of them.

    Raises:
        UserError: names what is missing.
    """
    sign = -1 if MEASURES[measure].higher_is_better else 1
    contenders = [_contender(system, run, measure) for run in runs]
    return min(contenders, key=lambda one: (sign * one.validation, one.run))


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


def _contender(system: Path, run: str, measure: MeasureName) -> Champion:
    folder = system / "models" / run
    try:
        return Champion(
            run=run,
            key=_json(folder / "record.json")["key"],
            model=file_digest(folder / "model.keras"),
            measure=measure,
            validation=MEASURES[measure].score(_json(folder / "metrics.json")["validation"]),
        )
    except FileNotFoundError as error:
        raise UserError(f"no {error.filename}; {REMEDY}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: record.json or metrics.json is broken ({error!r}); {REMEDY}") from None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
