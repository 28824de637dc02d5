"""Versions and machine that a training runs with."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

# of a processor: these decide which kernels the libraries choose, and so the last digits of what they compute
INSTRUCTIONS: Final = (
    "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
# by which people restrict the libraries to some of them, or share batches among devices
SWITCHES: Final = (
    "LAMINA_DEVICES", "NPY_DISABLE_CPU_FEATURES", "OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS",
    "XLA_FLAGS",
)  # fmt: skip
PACKAGES: Final = ("jax", "jaxlib", "keras", "numpy", "optuna", "pandas", "tensorflow")


def environment() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what is learned.

    lamina's own version is not among them: its code counts (`lamina.source_code`), not its number.
    """
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """Return what ran it, for `timing.json`."""
    found = _processor()
    flags = (found.get("flags") or found.get("Features") or "").split()
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "processor": platform.machine(),
        "model": found.get("model name") or platform.processor(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "switches": [f"{name}={os.environ[name]}" for name in SWITCHES if name in os.environ],
        "python": sys.version.split()[0],
    }


def _processor() -> dict[str, str]:
    """What Linux says about the first processor; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0] if path.exists() else ""
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
