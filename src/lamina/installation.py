"""Where this package is installed, and whether a system's files need a newer one."""

import os
import re
from itertools import takewhile
from pathlib import Path
from typing import Final

import lamina
from lamina.errors import UserError

PACKAGE: Final = Path(lamina.__file__).resolve().parent
STAMP: Final = re.compile(r"#\s*(?:Written by )?lamina\s+(?P<version>\d+(?:\.\d+)*)")


def is_checkout(folder: Path) -> bool:
    """Whether a folder is the root of a checkout of lamina itself."""
    return (folder / "src" / "lamina" / "__init__.py").is_file() and (folder / "pyproject.toml").is_file()


def home(system: Path) -> Path:
    """Return the absolute folder of a system; of a queued experiment of DVC, that of the system it was queued from.

    DVC runs such an experiment in a copy below `.dvc/tmp`, which it deletes, and names the project in DVC_ROOT.
    """
    folder = system.resolve()
    project = Path(os.environ.get("DVC_ROOT") or folder).resolve()
    if not folder.is_relative_to(project / ".dvc" / "tmp"):
        return folder
    copy = next(one for one in (folder, *folder.parents) if (one / ".dvc").is_dir())
    return project / folder.relative_to(copy)


def checkout() -> Path | None:
    """Root of the checkout that this package runs from; None for an installed wheel."""
    root = PACKAGE.parents[1]
    return root if is_checkout(root) and root / "src" / "lamina" == PACKAGE else None


def stamped(pipeline: str) -> str:
    """Add the version of this package to the text of a dvc.yaml, for `check_version`."""
    first, _, rest = pipeline.partition("\n")
    stamp = f"# Written by lamina {lamina.__version__}"
    return f"{first}\n{stamp}\n{rest}" if first.startswith("#") else f"{stamp}\n{pipeline}"


def check_version(system: Path) -> None:
    """Check that this package is not older than the pipeline of a system.

    Reads the comments at the top of `dvc.yaml`. Does nothing where no version stands there, or no file.

    Args:
        system: folder of the system.

    Raises:
        UserError: the pipeline was written by a newer lamina.
    """
    path = system / "dvc.yaml"
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        head = list(takewhile(lambda line: line.startswith("#") or not line.strip(), file))
    needed = max((found["version"] for line in head if (found := STAMP.match(line))), key=_numbers, default=None)
    if needed and _numbers(needed) > _numbers(lamina.__version__):
        raise UserError(
            f"{path}: written for lamina {needed}, but {lamina.__version__} is installed; "
            "run `pip install --upgrade lamina`"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """`0.2.0` as (0, 2): zeros at the end do not count."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
