"""`lamina profile`: give params.yaml the values of a profile, as a quick one; without NAME, list the profiles.

`profiles/NAME.yaml` is an overlay of params.yaml: it holds what the profile changes, and nothing else. The overlay is
applied to params.yaml itself, which DVC and the stages read. docs/files.md has the rules.
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lamina.commands.checked_params import check_params
from lamina.commands.overlay import Overlays, apply, check_overlays, differences, merge, read_overlay, rewrite
from lamina.config import Params, read_params
from lamina.errors import UserError
from lamina.files import staged
from lamina.tasks.runs import meant

PARAMS: Final = "params.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lamina profile`, except --system."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="apply profiles/NAME.yaml to params.yaml: mappings are merged, everything else replaces; runs and other "
        "named entries that only other profiles have are removed; `dvc repro` then runs what changed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Apply a profile and print what it changed, or list the profiles; return 0."""
    print("\n".join(switch(arguments.system, arguments.name) if arguments.name else overview(arguments.system)))
    return 0


def switch(system: Path, name: str) -> list[str]:
    """Apply a profile to `params.yaml`, in place of any other.

    Args:
        system: folder of the system.
        name: of the profile.

    Returns:
        One line for each change, and what to do next.

    Raises:
        UserError: there is no such profile, or it gives no valid `params.yaml`, or something of another profile would
            stay or something would get lost. Nothing is changed then.
    """
    overlays, file = _read_overlays(system), str(_folder(system) / f"{name}.yaml")
    if file not in overlays:
        raise UserError(f"{file}: there is no profile {name!r}{meant(name, [Path(one).stem for one in overlays])}")
    old = read_params(system)
    try:
        check_overlays(old, overlays, file)
    except UserError:
        for one, overlay in overlays.items():
            _check(merge(old, overlay), old, one)  # a misspelled key is unknown, and missing elsewhere
        raise
    wanted = apply(old, overlays, file)
    if wanted == old:
        return [f"{PARAMS}: unchanged, it has the profile {name} already"]
    with staged(system / PARAMS) as part:
        text = (system / PARAMS).read_text(encoding="utf-8")
        part.write_text(rewrite(text, wanted, overlays[file]), encoding="utf-8", newline="\n")
        new = _read(part, name=PARAMS)
        if new != wanted:
            raise UserError(f"{PARAMS}: {file} does not go with its anchors (&, *, <<); write out what they stand for")
        _check(new, old, file)
    return [*differences(old, new), f"{PARAMS}: has the profile {name}; `dvc repro` runs what changed"]


def overview(system: Path) -> list[str]:
    """Return a line for each profile of a system, and say which one `params.yaml` has."""
    overlays = _read_overlays(system)
    if not overlays:
        return [f"{_folder(system)}: no profiles; write NAME.yaml there, with what the profile changes in {PARAMS}"]
    params = read_params(system)
    present = [file for file in overlays if apply(params, overlays, file) == params]
    lines = [f"{Path(file).stem}{f'  ({PARAMS} has it)' if file in present else ''}" for file in overlays]
    return lines if present else [*lines, f"{PARAMS} has none of them"]


def _folder(system: Path) -> Path:
    return system / "profiles"


def _read_overlays(system: Path) -> Overlays:
    """Read all profiles of a system, by file; raises UserError for one that is no mapping of known sections."""
    overlays = {}
    for path in sorted(_folder(system).glob("[!.]*.yaml")):
        _read(path, name=str(path))
        overlays[str(path)] = read_overlay(path.read_text(encoding="utf-8"))
    return overlays


def _read(path: Path, *, name: str) -> Params:
    """Read a file as the stages read `params.yaml`, which has to have this name; messages have `name` instead."""
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copyfile(path, Path(folder) / PARAMS))
        try:
            return read_params(copy.parent)
        except UserError as error:
            text = str(error).removeprefix(str(copy)).removeprefix(PARAMS)
            raise UserError(f"{name}{text}") from None


def _check(new: Params, old: Params, file: str) -> None:
    """Check the new parameters; messages name the profile's file, unless the mistake was there before."""
    problem = _problem(new)
    if problem and problem != _problem(old):
        raise UserError(f"{file}: {problem.removeprefix(f'{PARAMS}: ')}")
    if problem:
        raise UserError(problem)


def _problem(params: Params) -> str | None:
    try:
        check_params(params)
    except UserError as error:
        return str(error)
    return None
