"""Result files: one class for each JSON file, by which it is written and read; and tables, read and checked.

A file that is missing or broken is reported in one line, with the stage to run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def _reported(path: Path, stage: str, *broken: type[Exception]) -> Iterator[None]:
    """Turn the errors of reading a file into a UserError of one line; broken: those that a broken file raises."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro {stage}`, or `dvc pull` where others ran it") from None
    except broken as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            problem = error.errors()[0]
            reason = ": ".join([*filter(None, [".".join(map(str, problem["loc"]))]), problem["msg"].lower()])
        shown = " ".join(reason.split())
        raise UserError(f"{path}: cannot be read ({shown}); delete it and run `dvc repro {stage}` again") from None


def read_result(path: Path, kind: type[F], stage: str) -> F:
    """Read a JSON file by its class.

    Raises:
        UserError: if it is missing or broken; names the stage that makes it.
    """
    with _reported(path, stage, ValueError):
        return kind.model_validate_json(path.read_bytes())


def read_table(path: Path, columns: Sequence[str], stage: str) -> "pd.DataFrame":
    """Read a Parquet or CSV file that must have these columns; raises UserError as `read_result` does."""
    import pandas as pd

    with _reported(path, stage, ValueError, OSError):
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        if absent := [column for column in columns if column not in table.columns]:
            raise ValueError(f"no column {', '.join(absent)}")
        return table


def read_pixels(path: Path, stage: str) -> np.ndarray:
    """Open an array memory-mapped; raises UserError as `read_result` does."""
    with _reported(path, stage, ValueError):
        return np.lib.format.open_memmap(path, mode="r")


def read_optional_table(path: Path, columns: Sequence[str], stage: str) -> "pd.DataFrame":
    """Read a table, or return one without rows where the file is not there."""
    import pandas as pd

    return read_table(path, columns, stage) if path.exists() else pd.DataFrame(columns=list(columns))


def read_yaml(path: Path, stage: str) -> dict[str, Any]:
    """Read a mapping, or return an empty one where the file is not there."""
    if not path.exists():
        return {}
    with _reported(path, stage, YAMLError, ValueError):
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"expected tuned values, found {type(values).__name__}")
        return values
