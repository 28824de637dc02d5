"""The folder of files that would otherwise be fetched, for machines without a network: `LAMINA_MIRROR`."""

import os
from pathlib import Path
from typing import Final

from lamina.errors import UserError

MIRROR: Final = "LAMINA_MIRROR"


def local_mirror() -> Path | None:
    """Return the folder that LAMINA_MIRROR names; None if it is not set.

    Raises:
        UserError: if it is no folder.
    """
    folder = os.environ.get(MIRROR)
    if folder and not Path(folder).is_dir():
        raise UserError(f"{MIRROR} names {folder!r}, which is no folder; correct it, or unset it")
    return Path(folder) if folder else None


def mirrored_path(name: str) -> Path | None:
    """Return the file or folder of this name in the folder that LAMINA_MIRROR names; None if there is none.

    Raises:
        UserError: as `local_mirror`.
    """
    folder = local_mirror()
    return path.absolute() if folder and (path := folder / name).exists() else None
