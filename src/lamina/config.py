"""Strict reading of `params.yaml`: every value typed and bounded, every unknown key refused.

The sections' own classes stand beside the code that they steer (`SplitConfig` in `lamina.maths.splits`,
and so on); here is what they share.
"""

import difflib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lamina.errors import UserError

SECTIONS = (
    "code",
    "seed",
    "source",
    "filter",
    "convert",
    "augment",
    "split",
    "transfer",
    "scratch",
    "colorize",
    "tune",
)


class Config(BaseModel):
    """A section of `params.yaml`: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


C = TypeVar("C", bound=Config)


def read_params(system: Path) -> dict[str, Any]:
    """Read `params.yaml` of a system's folder and check the names of its sections.

    YAML 1.2 as DVC reads it: `1e-5` is a number. Raises UserError with the place of what is wrong.
    """
    path = system / "params.yaml"
    try:
        params = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; run in a system's folder, name one with --system, or make one with `lamina new`"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(params, dict):
        raise UserError(f"{path}: expected sections ({', '.join(SECTIONS)}), found {type(params).__name__}")
    for name in params:
        if name not in SECTIONS:
            raise UserError(f"{path}: unknown section {_unknown(str(name), SECTIONS)}")
    return params


def section(params: dict[str, Any], place: str, kind: type[C]) -> C:
    """Build the config of class `kind` from the section at `place` ("split", "transfer.runs.tiny")."""
    value: Any = params
    for key in place.split("."):
        if not isinstance(value, dict) or key not in value:
            known = value if isinstance(value, dict) else {}
            raise UserError(f"params.yaml: {place} is missing: no {_unknown(key, known)}")
        value = value[key]
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(_first_problem(error, place, kind)) from None


def _first_problem(error: ValidationError, place: str, kind: type[Config]) -> str:
    problem = error.errors()[0]
    where = ".".join([place, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return f"params.yaml: unknown key {_unknown(where, [f'{place}.{key}' for key in kind.model_fields])}"
    if problem["type"] == "missing":
        return f"params.yaml: {where} is missing; add it"
    said = problem["msg"].removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    return f"params.yaml: {where}: {said}, got {problem['input']!r}"


def _unknown(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, [str(key) for key in known], n=1, cutoff=0.5)
    return (
        f"{name!r}; did you mean {near[0]!r}?" if near else f"{name!r}; known: {', '.join(map(str, known)) or 'none'}"
    )
