"""The record of a run: all that it was told and what it stood on, without a clock."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from lamina.files import file_digest, json_digest
from lamina.installation import is_checkout

PACKAGES: Final = ("jax", "jaxlib", "keras", "lamina", "numpy", "optuna", "pandas", "tensorflow")


def make_record(
    *,
    run: str,
    kind: str,
    params: Mapping[str, Any],
    tuned: Mapping[str, float],
    seed: int,
    classes: list[str],
    size: int,
    data: Mapping[str, Any],
    system: Path,
) -> dict[str, Any]:
    """Gather what `record.json` holds (docs/files.md).

    `key` is the run's identity: the digest of what decides its result. It is known before training starts.
    """
    decides = {
        "run": run,
        "kind": kind,
        "params": dict(params),
        "tuned": dict(tuned),
        "seed": seed,
        "classes": classes,
        "size": size,
        "data": dict(data),
        "environment": environment(),
        "system": system_name(system),
        "code": code_digest(),
    }
    return decides | {"key": json_digest(decides), "commit": commit(system)}


def note_convention(weights: str, given: str) -> None:
    """Tell in one line where weights learned by another `preprocess` than `given`, as the record beside them says."""
    try:
        record = json.loads(Path(weights).with_name("record.json").read_text())
        learned_by = "chroma" if record["kind"] == "pretext" else record["params"].get("preprocess", "own")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if learned_by != given:
        print(f"note: {weights} learned by preprocess: {learned_by}; this run gives it {given}", file=sys.stderr)


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide what is learned."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def system_name(folder: Path) -> str:
    """Name of a system: that of its folder; `default` for the root of a checkout of lamina."""
    return "default" if is_checkout(folder) else folder.resolve().name


def code_digest() -> str:
    """SHA-256 of the modules that decide what is learned."""
    package = Path(__file__).parents[1]
    modules = sorted(path for floor in ("maths", "data", "models", "inputs", "training", "tuning", "results", "tasks") for path in (package / floor).rglob("*.py"))
    return json_digest([file_digest(path) for path in modules])


def commit(folder: Path) -> str | None:
    """The git commit that is checked out in a folder; None where git or a commit is missing."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def machine() -> dict[str, Any]:
    """What ran it, for `timing.json`."""
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "processor": platform.machine(),
        "python": sys.version.split()[0],
    }
