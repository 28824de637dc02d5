"""Whether the installed lamina is as new as a system's files."""

import re
from pathlib import Path

from lamina import __version__
from lamina.errors import UserError


def check_version(system: Path) -> None:
    """Raise UserError where the system's `dvc.yaml` was written by a newer lamina than the one installed."""
    text = (system / "dvc.yaml").read_text(encoding="utf-8") if (system / "dvc.yaml").is_file() else ""
    found = re.search(r"^# .*lamina (\d+(?:\.\d+)*)", text, flags=re.M)
    if found and _numbers(found[1]) > _numbers(__version__):
        raise UserError(
            f"{system / 'dvc.yaml'}: needs lamina {found[1]}, but {__version__} is installed; "
            "upgrade it with `pip install --upgrade lamina`"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
