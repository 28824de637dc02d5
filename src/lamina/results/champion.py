"""The champion of a system: the accepted run or ensemble that is best on its validation pictures.

It is not chosen by its test pictures: the best test score of several runs is partly luck, and would be too good an
estimate for new pictures.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lamina.errors import UserError
from lamina.files import file_digest
from lamina.results.folders import is_ensemble, results_folder
from lamina.results.measure_names import MeasureName
from lamina.results.measures import MEASURES

REMEDY = "make it with `dvc repro`, or fetch it with `dvc pull`"


class Champion(BaseModel):
    """The contents of `baselines/champion.json`.

    Attributes:
        run: Name of the run or ensemble.
        key: Of its record.
        model: SHA-256 of its `model.keras`.
        measure: That it was chosen by.
        validation: The measure on the validation pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: str
    key: str
    model: str
    measure: MeasureName
    validation: float = Field(ge=0, allow_inf_nan=False)

    def is_in(self, system: Path) -> bool:
        """Return whether the folder of the run or ensemble holds the accepted model."""
        try:
            return self == _contender(system, self.run, self.measure)
        except UserError:
            return False


def champion_path(system: Path) -> Path:
    """Return the file of the champion."""
    return system / "baselines" / "champion.json"


def choose(system: Path, runs: Iterable[str], measure: MeasureName) -> Champion:
    """Return the best on its validation pictures; of equal ones, runs come before ensembles, then the name decides.

    Args:
        system: The system's folder.
        runs: At least one, all trained and evaluated.
        measure: Of all of them.

    Raises:
        UserError: If a file is missing or broken.
    """
    sign = -1 if MEASURES[measure].higher_is_better else 1

    def rank(one: Champion) -> tuple[float, bool, str]:
        return sign * one.validation, is_ensemble(results_folder(system, one.run)), one.run

    return min((_contender(system, run, measure) for run in runs), key=rank)


def read_champion(system: Path) -> Champion | None:
    """Read the accepted champion; None if none was accepted yet.

    Raises:
        UserError: If the file is broken.
    """
    path = champion_path(system)
    try:
        return Champion.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{path}: {where} {problem['msg']}; restore it, or renew it with `lamina gate --accept`"
        ) from None


def _contender(system: Path, run: str, measure: MeasureName) -> Champion:
    folder = results_folder(system, run)
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
