"""Features as files: what they are made of, whether another run has them, and what an interrupted run left.

Runs that differ only in their heads have the same features. Their key says what they are made of and stands beside them
in `timing.json`, so that a run takes over from another what is there already.
"""

import json
import shutil
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from lamina.data.rows import Folders
from lamina.files import discard, file_digest, json_digest
from lamina.tasks.runs import TransferRun

UNFINISHED: Final = Path(
    ".lamina/features"
)  # in a system's folder, out of reach of DVC, which empties a stage's outputs
FILES: Final = ("backbone.keras", "features.npy")

# what decides features beside the data and the settings
MODULES: Final = (
    "data/augmentation.py",
    "data/rows.py",
    "inputs/extraction.py",
    "maths/color.py",
    "models/backbones.py",
    "models/chroma.py",
    "models/engine.py",
    "models/keras_runtime.py",
    "models/networks.py",
    "models/openvino_runtime.py",
    "models/saving.py",
    "models/scales.py",
    "models/own_backbones.py",
    "models/weights.py",
)
_LIBRARIES: Final = ("keras", "numpy", "opencv-python-headless", "openvino", "tensorflow")


def data_digest(folders: Folders) -> str:
    """Digest of the split's rows and of the pixels that they are."""
    split, lab, plan = folders.split / "manifest.parquet", folders.lab, folders.augmented / "plan.parquet"
    return json_digest([file_digest(path) for path in (split, lab / "pixels.npy", lab / "manifest.parquet", plan)])


def features_key(run: TransferRun, data: str, *, seed: int) -> str:
    """Digest of all that decides a run's features; `data`: see `data_digest`. What is not there counts as absent."""
    named = run.weights in ("none", "imagenet")
    weights = Path(run.weights)
    told = {
        "settings": [run.backbone, run.pooling, run.preprocess, run.precision],
        "weights": run.weights if named else file_digest(weights) if weights.is_file() else None,
        "seed": seed if run.weights == "none" else None,
        "data": data,
        "code": [file_digest(Path(__file__).parents[1] / module) for module in MODULES],
        "libraries": [_version(name) for name in _LIBRARIES],
    }
    return json_digest(told)


def take_over(features: Path, key: str, out: Path) -> dict[str, Any] | None:
    """Copy to the folder `out` what a run made under the same key; return its `timing.json`, None where none did.

    features: the folder of all runs. Files that are not as they were made are not taken. They are copied, not linked:
    a change to the one must not become a change to the other.
    """
    for path in sorted(features.glob("[!.]*/timing.json")):
        try:
            timing: dict[str, Any] = json.loads(path.read_text())
            if timing["key"] != key:
                continue
            for name in FILES:
                shutil.copyfile(path.parent / name, out / name)
            if {name: file_digest(out / name) for name in FILES} == timing["files"]:
                return {"shared_with": path.parent.name} | timing
        except (OSError, ValueError, KeyError, TypeError):  # half removed, or of an earlier version
            continue
    for name in FILES:
        discard(out / name)
    return None


def tidy(unfinished: Path, asked: Collection[str]) -> None:
    """Remove what interrupted extractions left, but for those asked for (by key)."""
    for path in unfinished.glob("*"):
        if path.name not in asked:
            discard(path)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
