"""Faults of the `dvc.yaml` that `lamina new` wrote before: a system keeps its own copy."""

import re
from pathlib import Path
from typing import Final

from lamina.errors import UserError

_CONVERT: Final = re.compile(r"^ *(?:params: \[|- )convert\b", re.MULTILINE)
_NAME_IN_COMMAND: Final = re.compile(r"^\s*cmd:.*\$\{.*", re.MULTILINE)
_TAKE: Final = "take the dvc.yaml of this version: `lamina new` writes it into a new system"


def check_commands(pipeline: Path) -> None:
    """Refuse a pipeline whose commands hold names of params.yaml, which DVC puts into a line for the shell.

    Raises:
        UserError: it has such a command.
    """
    if found := _NAME_IN_COMMAND.search(_text(pipeline)):
        raise UserError(f"{pipeline}: `{found[0].strip()}` hands a name of params.yaml to a shell; {_TAKE}")


def check_size(pipeline: Path) -> None:
    """Refuse a pipeline that depends on `convert` and not on `convert.size`.

    DVC's run cache does not see the `size` inside of a section: it would give back the pictures of the size before.

    Raises:
        UserError: it is such a pipeline.
    """
    text = _text(pipeline)
    if _CONVERT.search(text) and "convert.size" not in text:
        raise UserError(f"{pipeline}: DVC would not see another convert.size; {_TAKE}")


def _text(pipeline: Path) -> str:
    return pipeline.read_text(encoding="utf-8", errors="replace") if pipeline.exists() else ""
