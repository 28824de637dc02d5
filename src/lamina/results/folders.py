"""Where the results of a run or of an ensemble lie, and which stage makes them."""

from functools import lru_cache
from pathlib import Path
from typing import Final

from lamina.config import named, read_params

RUNS: Final = "models"
ENSEMBLES: Final = "ensembles"


def run_folder(system: Path, name: str) -> Path:
    """Return the folder of a run's results."""
    return system / RUNS / name


def ensemble_folder(system: Path, name: str) -> Path:
    """Return the folder of an ensemble's results."""
    return system / ENSEMBLES / name


def results_folder(system: Path, name: str) -> Path:
    """Return the folder of the results of a name: of an ensemble if `params.yaml` has one of this name, else of a run.

    Raises:
        UserError: if `params.yaml` is not valid.
    """
    path = system / "params.yaml"
    listed = path.is_file() and name in _ensembles(system, path.stat().st_mtime_ns, path.stat().st_size)
    return ensemble_folder(system, name) if listed else run_folder(system, name)


def is_ensemble(folder: Path) -> bool:
    """Whether a folder of results is that of an ensemble."""
    return folder.parent.name == ENSEMBLES


def made_by(folder: Path, stage: str) -> str:
    """Return what `dvc repro` is called with to make the results in a folder.

    Args:
        folder: of a run or an ensemble.
        stage: that makes them for a run. One stage makes all ensembles.
    """
    return "ensembles" if is_ensemble(folder) else f"{stage}@{folder.name}"


# the gate asks some times for every run, and reading takes 30 ms; a file that has changed is read again
@lru_cache(maxsize=8)
def _ensembles(system: Path, changed: int, size: int) -> frozenset[str]:
    return frozenset(named(read_params(system), "ensembles"))
