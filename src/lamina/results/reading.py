"""Files that stages wrote, read and checked: what is missing or broken is said in one line, with the stage to run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lamina.errors import UserError


class Written(BaseModel):
    """A JSON file that a stage wrote; keys that the report does not show are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


W = TypeVar("W", bound=Written)


def read_json(path: Path, kind: type[W], stage: str) -> W:
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise _broken(path, f"{place}: {problem['msg'].lower()}", stage) from None
    except ValueError as error:
        raise _broken(path, str(error), stage) from None


def read_table(path: Path, columns: Sequence[str], stage: str) -> pd.DataFrame:
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
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except ValueError as error:
        raise _broken(path, str(error), stage) from None


def read_optional_table(path: Path, columns: Sequence[str], stage: str) -> pd.DataFrame:
    return read_table(path, columns, stage) if path.exists() else pd.DataFrame(columns=list(columns))


def read_yaml(path: Path, stage: str) -> dict[str, Any]:
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
    return UserError(f"{path}: not found, so the report cannot be written yet; run `dvc repro {stage}` first")


def _broken(path: Path, reason: str, stage: str) -> UserError:
    said = " ".join(reason.split())
    return UserError(f"{path}: cannot be read ({said}); delete it and run `dvc repro {stage}` again")
