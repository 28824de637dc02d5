"""Strict reading of `params.yaml`: every value has a type and a range; unknown keys are errors.

The class of each section is in the module that uses it (`SplitConfig` in `lamina.maths.splits`). This module has what
they share.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import CollectionNode

from lamina.errors import UserError
from lamina.old_params import check_old
from lamina.text import quoted

SECTIONS: Final = (
    "seed",
    "source",
    "filter",
    "convert",
    "augment",
    "split",
    "validate",
    "weights",
    "features",
    "words",
    "runs",
    "ensembles",
    "tune",
    "assess",
)
NAMED: Final = ("features", "words", "runs", "ensembles")  # sections that map names to entries

Params: TypeAlias = dict[str, Any]

NAME: Final = re.compile("[A-Za-z][A-Za-z0-9_-]{0,99}")  # of a folder, and in the names of files and DVC stages
PUBLISHED: Final = re.compile(r"weights/([^/]+)/(.+)\.weights\.h5")  # where the stage `weights` keeps published weights

MOST_NODES: Final = 100_000  # values of a file of parameters

# Keras and NumPy take seeds below 2**32; the trials of a search add their numbers to it
SEEDS: Final = 2**31


class Config(BaseModel):
    """A section of `params.yaml`: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


C = TypeVar("C", bound=Config)


def read_params(system: Path) -> Params:
    """Read `params.yaml` and check what no section's own class checks.

    That is the names of the sections, keys of lamina 0.1, and the names of features, words, runs and ensembles.
    The file is YAML 1.2, as DVC reads it: `1e-5` is a number.

    Args:
        system: folder that holds `params.yaml`.

    Returns:
        The sections by name, as they stand in the file.

    Raises:
        UserError: the file is missing or not valid, with the place of what is wrong.
    """
    path = system / "params.yaml"
    params = _load(path)
    if not isinstance(params, dict):
        found = "nothing" if params is None else shown(params)
        raise UserError(f"{path}: expected sections ({', '.join(SECTIONS)}), found {found}")
    check_old(params)
    for name in params:
        if name not in SECTIONS:
            raise UserError(f"{path}: unknown section {_unknown(name, SECTIONS)}")
    for name in NAMED:
        named(params, name)
    _check_case([*named(params, "runs"), *named(params, "ensembles")], f"{path}: runs and ensembles")
    return params


def named(params: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """Return the entries of `features`, `words`, `runs` or `ensembles` by name.

    Args:
        params: content of `params.yaml`.
        section: name of the section.

    Returns:
        The entries, unchecked; empty where the section is missing or null.

    Raises:
        UserError: the section is no mapping, or a name breaks the rule.
    """
    entries = params.get(section)
    if entries is not None and not isinstance(entries, dict):
        expected = "expected a mapping of entries by name, {} for none"
        raise UserError(f"params.yaml: {section}: {expected}, got {shown(entries)}")
    for name in entries or {}:
        valid_name(name, f"params.yaml: {section}")
    _check_case(entries or (), f"params.yaml: {section}")
    return entries or {}


def valid_name(name: object, place: str) -> str:
    """Return the name of a run or another entry; raises UserError, with the place, if it breaks the rule."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(
            f"{place}: {quoted(name)}: expected a name of letters (A-Z, a-z), digits, - and _ "
            "that starts with a letter, at most 100 in all; rename it"
        )
    return name


def _check_case(names: Iterable[str], place: str) -> None:
    """Refuse two names that would be one file where a file system ignores case."""
    known: dict[str, str] = {}
    for name in names:
        if (other := known.setdefault(name.lower(), name)) != name:
            raise UserError(f"{place}: {other} and {name} differ only in upper and lower case; rename one of them")


def check_references(params: Mapping[str, Any]) -> list[str]:
    """Check that what runs name is there: inputs, published weights, models of other runs.

    Args:
        params: content of `params.yaml`, as `read_params` returns it.

    Returns:
        One line for each of `features` and `words`, and one for `augment.fresh`, that no run uses.

    Raises:
        UserError: a run names an input, published weights or another run that is not there, or what cannot be used so.
    """
    runs = named(params, "runs")
    shared = [f"{kind}/{name}" for kind in ("features", "words") for name in named(params, kind)]
    for name, settings in runs.items():
        _check_input(f"runs.{name}.input", _setting(settings, "input"), ["pixels", *shared])
        if _setting(settings, "fine_tune"):
            _check_fine_tuning(f"runs.{name}.fine_tune", str(_setting(settings, "input")), params)
    for kind in ("features", "runs"):
        for name, settings in named(params, kind).items():
            _check_weights(f"{kind}.{name}.weights", _setting(settings, "weights"), params)
    used = [_setting(settings, "input") for settings in runs.values()]
    notes = [
        f"note: params.yaml: no run has input: {one}; it is computed but not used" for one in shared if one not in used
    ]
    return notes + _unused_fresh(params)


def _unused_fresh(params: Mapping[str, Any]) -> list[str]:
    """Return a note if `augment.fresh` is set, and no run draws warps in every epoch."""
    runs = named(params, "runs").values()
    choices = [_setting(_setting(settings, "tune"), "augmentation") or [] for settings in runs]
    given = [[_setting(settings, "augmentation")] for settings in runs]
    if not _setting(params.get("augment"), "fresh") or any("fresh" in values for values in given + choices):
        return []
    return ["note: params.yaml: augment.fresh is set, but no run has augmentation: fresh; it is not used"]


def _setting(settings: Any, key: str) -> Any:
    return settings.get(key) if isinstance(settings, dict) else None


def _check_input(place: str, name: Any, known: list[str]) -> None:
    if isinstance(name, str) and name not in known:
        near = nearest(name, known)
        advice = f"did you mean {near!r}? " if near else ""
        raise UserError(f"params.yaml: {place}: no input {name!r}; {advice}there are: {', '.join(known)}")


def _check_fine_tuning(place: str, name: str, params: Mapping[str, Any]) -> None:
    entry = named(params, "features").get(name.removeprefix("features/"))
    if _setting(entry, "backbone") == "onnx":
        raise UserError(f"params.yaml: {place}: {name} is from an ONNX file, which cannot learn; leave fine_tune out")


def _check_weights(place: str, path: Any, params: Mapping[str, Any]) -> None:
    if not isinstance(path, str):
        return
    if found := PUBLISHED.fullmatch(path):
        kind, name = found.groups()
        listed = _setting(params.get("weights"), kind)
        if not isinstance(listed, list) or name not in listed:
            raise UserError(f"params.yaml: {place}: {path} is not fetched; add {name} to the list weights.{kind}")
    if path.startswith("ensembles/"):
        raise UserError(f"params.yaml: {place}: {path}: no run can start from an ensemble; name a model of its runs")
    if path.endswith(".onnx") and path.startswith("weights/"):
        raise UserError(
            f"params.yaml: {place}: {path}: the stage weights empties that folder; put the file into another one, "
            "as pretrained/"
        )
    if path.startswith("models/"):
        run = path.split("/")[1]
        if run not in named(params, "runs"):
            raise UserError(f"params.yaml: {place}: {path}: no run {_unknown(run, named(params, 'runs'))}")


def section(params: Mapping[str, Any], name: str, kind: type[C]) -> C:
    """Build the config of class `kind` from the section `name` ("split").

    Raises:
        UserError: the section is missing or not valid.
    """
    if name not in params:
        raise UserError(f"params.yaml: the section {name} is missing; add it")
    return validated(params[name], name, kind)


def validated(value: Any, place: str, kind: type[C]) -> C:
    """Build the config of class `kind` from the value at a place.

    Unknown keys are reported first, with the nearest known one: a misspelled key is unknown and missing at once.

    Args:
        value: what stands there.
        place: where it stands, for messages ("split", "runs.tiny").
        kind: class of the section.

    Returns:
        The config.

    Raises:
        UserError: with the place, the value and what was expected.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems = sorted(error.errors(), key=lambda problem: problem["type"] not in ("extra_forbidden", "invalid_key"))
        raise UserError(f"params.yaml: {_problem(problems[0], place, kind)}") from None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that is most like `name`; None where none is close."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def shown(value: Any) -> str:
    """Format a value for a message: its type and at most 80 characters of it."""
    if value is None:
        return "null"
    return f"{type(value).__name__} {quoted(value)}"


def load_yaml(path: Path) -> Any:
    """Read YAML that people write; refuse what grows when it is read.

    Raises:
        YAMLError: it is not valid, or has more than `MOST_NODES` values once its anchors are written out.
    """
    text = path.read_text(encoding="utf-8")
    reader = YAML(typ="safe", pure=True)
    if "&" in text:  # before the constructor follows the anchors
        _count(reader.compose(text), {})
    return reader.load(text)


def _count(node: Any, known: dict[int, int]) -> int:
    """Count the values of a node of YAML with its anchors written out; known: those of nodes that were counted."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MOST_NODES  # while it is counted: a node that holds itself has no end
    inside = node.value if isinstance(node, CollectionNode) else []
    parts = [part for one in inside for part in (one if isinstance(one, tuple) else (one,))]
    known[id(node)] = total = 1 + sum(_count(part, known) for part in parts)
    if total > MOST_NODES:
        raise YAMLError(f"more than {MOST_NODES:,} values where its anchors (&, *) are written out; use fewer")
    return total


def _load(path: Path) -> Any:
    try:
        return load_yaml(path)
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
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{path}: not valid YAML: {where}{_one_line(problem)}") from None
    # int(), datetime and others raise errors of their own for some scalars; deep nesting raises RecursionError
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {_one_line(error)}") from None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _problem(problem: ErrorDetails, place: str, kind: type[Config]) -> str:
    path, what = problem["loc"], problem["type"]
    where = ".".join([place, *map(str, path)])
    if what == "missing":
        return f"{where} is missing; add it"
    if what in ("extra_forbidden", "invalid_key", "model_type"):
        known = list(_within(kind, path[:-1]).model_fields)
        # a section that takes further mappings reports what is none of them by its type
        if what != "model_type" or (path and path[-1] not in known):
            return f"unknown key {_unknown(path[-1], known, place='.'.join([place, *map(str, path[:-1]), '']))}"
        keys = ", ".join(_within(kind, path).model_fields)
        return f"{where}: expected a mapping with the keys {keys}, got {shown(problem['input'])}"
    text = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    # what is wrong with a whole section names the key and the value itself
    named = not path or (isinstance(value, str) and repr(value) in text)
    got = "" if named else f", got {quoted(value)}"
    return f"{where}: {text[:1].lower()}{text[1:]}{got}"


def _within(kind: type[Config], place: Sequence[int | str]) -> type[Config]:
    """Class of the mapping at a place within a config."""
    for name in place:
        extra: Any = get_type_hints(kind).get("__pydantic_extra__")  # type of further mappings, {name: Config}
        annotation = kind.model_fields[str(name)].annotation if str(name) in kind.model_fields else extra
        kind = next(
            one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, Config)
        )
    return kind


def _unknown(name: object, known: Iterable[str], *, place: str = "") -> str:
    near = nearest(str(name), known)
    advice = f"did you mean {place + near!r}?" if near else f"known: {', '.join(known)}"
    return f"{place + str(name)!r}; {advice}"
