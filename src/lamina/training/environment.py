"""Versions and machine that a training runs with."""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any, Final

PACKAGES: Final = ("jax", "jaxlib", "keras", "numpy", "optuna", "pandas", "tensorflow")


def environment() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what is learned.

    lamina's own version is not among them: its code counts (`lamina.source_code`), not its number.
    """
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """Return what ran it, for `timing.json`."""
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "processor": platform.machine(),
        "python": sys.version.split()[0],
    }
