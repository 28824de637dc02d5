"""Result files: one class for each JSON file, by which it is written and read; and tables, read and checked.

A file that is missing or broken is reported in one line, with the stage to run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lamina.errors import UserError
from lamina.files import write_json

if TYPE_CHECKING:  # slow to import, and comparing results reads no table here
    import pandas as pd


class ResultFile(BaseModel):
    """A JSON file that a stage writes, or a part of one. Unknown keys are ignored: later versions may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.model_dump(mode="json"))


F = TypeVar("F", bound=ResultFile)


def read_result(path: Path, kind: type[F], stage: str) -> F:
    """Read a JSON file by its class.

    Raises:
        UserError: if it is missing or broken; names the stage that makes it.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise _broken(path, f"{place}: {problem['msg'].lower()}", stage) from None
    except ValueError as error:
        raise _broken(path, str(error), stage) from None


def read_table(path: Path, columns: Sequence[str], stage: str) -> "pd.DataFrame":
    """Read a Parquet or CSV file that must have these columns; raises UserError as `read_result` does."""
    import pandas as pd

    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except (ValueError, OSError) as error:
        raise _broken(path, str(error), stage) from None
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise _broken(path, f"no column {', '.join(absent)}", stage)
    return table


def read_pixels(path: Path, stage: str) -> np.ndarray:
    """Open an array memory-mapped; raises UserError as `read_result` does."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except ValueError as error:
        raise _broken(path, str(error), stage) from None


def read_optional_table(path: Path, columns: Sequence[str], stage: str) -> "pd.DataFrame":
    """Read a table, or return one without rows where the file is not there."""
    import pandas as pd

    return read_table(path, columns, stage) if path.exists() else pd.DataFrame(columns=list(columns))


def read_yaml(path: Path, stage: str) -> dict[str, Any]:
    """Read a mapping, or return an empty one where the file is not there."""
    if not path.exists():
        return {}
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise _broken(path, str(error), stage) from None
    if not isinstance(values, dict):
        raise _broken(path, f"expected tuned values, found {type(values).__name__}", stage)
    return values


def _missing(path: Path, stage: str) -> UserError:
    return UserError(f"{path}: not found; run `dvc repro {stage}`, or `dvc pull` where others ran it")


def _broken(path: Path, reason: str, stage: str) -> UserError:
    problem = " ".join(reason.split())
    return UserError(f"{path}: cannot be read ({problem}); delete it and run `dvc repro {stage}` again")
