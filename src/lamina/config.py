"""Strict reading of `params.yaml`: every value typed and bounded, every unknown key refused.

The sections' own classes stand beside the code that they steer (`SplitConfig` in `lamina.maths.splits`,
and so on); here is what they share.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lamina.errors import UserError

SECTIONS: Final = (
    "code",
    "seed",
    "source",
    "filter",
    "convert",
    "augment",
    "split",
    "validate",
    "words",
    "transfer",
    "scratch",
    "colorize",
    "pretext",
    "tune",
    "assess",
)
GROUPS: Final = ("transfer", "scratch", "colorize", "pretext")  # sections that hold nothing but `runs`

RUN_NAME: Final = "[A-Za-z][A-Za-z0-9_-]*"  # a folder's name, a part of a DVC stage's and of a shell line

# Keras and NumPy take seeds below 2**32; the trials of a search add their numbers to it
SEEDS: Final = 2**31


class Config(BaseModel):
    """A section of `params.yaml`: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


C = TypeVar("C", bound=Config)


def read_params(system: Path) -> dict[str, Any]:
    """Read `params.yaml` of a system's folder and check what does not belong to one section's own class.

    That is the names of the sections, `code`, and the groups of runs with the runs' names.
    YAML 1.2 as DVC reads it: `1e-5` is a number. Raises UserError with the place of what is wrong.
    """
    path = system / "params.yaml"
    params = _load(path)
    if not isinstance(params, dict):
        found = "nothing" if params is None else shown(params)
        raise UserError(f"{path}: expected sections ({', '.join(SECTIONS)}), found {found}")
    for name in params:
        if name not in SECTIONS:
            raise UserError(f"{path}: unknown section {_unknown(name, SECTIONS)}")
    _check_code(params)
    for group in GROUPS:
        runs_of(params, group)
    return params


def runs_of(params: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    """What is told of each run of a group ("transfer"), by its name; nothing where the group has none.

    Raises UserError where that is no mapping, has other keys than `runs`, or a name that breaks the rule.
    """
    told = _mapping(params.get(group), group, "expected a mapping with the key runs")
    for key in told:
        if key != "runs":
            raise UserError(f"params.yaml: unknown key {_unknown(key, ['runs'], place=f'{group}.')}")
    runs = _mapping(told.get("runs"), f"{group}.runs", "expected a mapping of runs by name, {} for none")
    for name in runs:
        if not isinstance(name, str) or not re.fullmatch(RUN_NAME, name):
            raise UserError(
                f"params.yaml: {group}.runs: run {name!r}: expected a name of letters (A-Z, a-z), digits, - and _ "
                "that starts with a letter; rename it"
            )
    return runs


def section(params: Mapping[str, Any], name: str, kind: type[C]) -> C:
    """Build the config of class `kind` from the section `name` ("split")."""
    if name not in params:
        raise UserError(f"params.yaml: the section {name} is missing; add it")
    return validated(params[name], name, kind)


def validated(told: Any, place: str, kind: type[C]) -> C:
    """Build the config of class `kind` from what is told at `place` ("split", "transfer.runs.tiny").

    Raises UserError with the place, the value and what was expected; unknown keys come before all else, since
    they are what a misspelt key looks like, and get the nearest known one.
    """
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        problems = sorted(error.errors(), key=lambda problem: problem["type"] not in ("extra_forbidden", "invalid_key"))
        raise UserError(f"params.yaml: {_problem(problems[0], place, kind)}") from None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is most like; None where none is close."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def shown(value: Any) -> str:
    """A value for a message: its type and, in at most 80 characters, itself."""
    if value is None:
        return "null"
    return f"{type(value).__name__} {_cut(repr(value))}"


def _load(path: Path) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path}: not found; run in a system's folder, name one with --system, or make one with `lamina new`"
        ) from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; expected a file of parameters") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{path}: not valid YAML: {where}{_one_line(said)}") from None
    # beside YAMLError, what int(), datetime and the like say of a scalar, and endless nesting
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {_one_line(error)}") from None


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _one_line(said: object) -> str:
    return " ".join(str(said).split())


def _check_code(params: Mapping[str, Any]) -> None:
    code = params.get("code", ".")
    if not isinstance(code, str) or not code:
        raise UserError(f"params.yaml: code: expected the path of the package's folder, got {shown(code)}")


def _mapping(value: Any, place: str, expected: str) -> Mapping[Any, Any]:
    if value is not None and not isinstance(value, dict):
        raise UserError(f"params.yaml: {place}: {expected}, got {shown(value)}")
    return value or {}


def _problem(problem: ErrorDetails, place: str, kind: type[Config]) -> str:
    where = ".".join([place, *map(str, problem["loc"])])
    match problem["type"]:
        case "extra_forbidden" | "invalid_key":
            keys = list(_within(kind, problem["loc"][:-1]).model_fields)
            above = ".".join([place, *map(str, problem["loc"][:-1]), ""])
            return f"unknown key {_unknown(problem['loc'][-1], keys, place=above)}"
        case "missing":
            return f"{where} is missing; add it"
        case "model_type":
            keys = list(_within(kind, problem["loc"]).model_fields)
            return f"{where}: expected a mapping with the keys {', '.join(keys)}, got {shown(problem['input'])}"
    said = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    got = "" if isinstance(value, str) and repr(value) in said else f", got {_cut(repr(value))}"
    return f"{where}: {said[:1].lower()}{said[1:]}{got}"


def _within(kind: type[Config], place: Sequence[int | str]) -> type[Config]:
    """The class of the mapping that stands at a place within a config."""
    for name in place:
        told = kind.model_fields[str(name)].annotation
        kind = next(one for one in (told, *get_args(told)) if isinstance(one, type) and issubclass(one, Config))
    return kind


def _unknown(name: object, known: Iterable[str], *, place: str = "") -> str:
    near = nearest(str(name), known)
    advice = f"did you mean {place + near!r}?" if near else f"known: {', '.join(known)}"
    return f"{place + str(name)!r}; {advice}"
