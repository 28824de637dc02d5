"""Features as an input: their identity, and the files of interrupted extractions.

Features of a frozen backbone are computed once per entry of the section `features`. The file of an interrupted
extraction is kept outside of what DVC empties, under a key of everything that decides the features, and continued.
"""

from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Folders
from lamina.files import discard, json_digest
from lamina.inputs.index import input_digest
from lamina.inputs.settings import FeaturesSettings
from lamina.models.backbones import RANDOM
from lamina.source_code import code_digest
from lamina.training.settings import weights_identity

UNFINISHED: Final = Path(".lamina/features")  # in a system's folder, out of reach of DVC
_LIBRARIES: Final = ("keras", "numpy", "opencv-python-headless", "openvino", "tensorflow")


@dataclass(frozen=True)
class FeatureExamples:
    """Features in memory: (n, width) float16, and class numbers, (n,) int32. Heads train on them as they are."""

    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


def features_key(settings: FeaturesSettings, folders: Folders, *, seed: int) -> str:
    """Return the SHA-256 of all that decides features: settings, weights, data, code and libraries."""
    decides = settings.model_dump() | {
        "weights": weights_identity(settings.weights),
        "seed": seed if settings.weights == RANDOM else None,
        "data": input_digest(folders.pixels, folders),
        "code": code_digest("lamina.inputs.extraction"),
        "libraries": [_version(name) for name in _LIBRARIES],
    }
    return json_digest(decides)


def tidy(unfinished: Path, needed: Collection[str]) -> None:
    """Remove what interrupted extractions left, except under the needed keys."""
    for path in unfinished.glob("*"):
        if path.name not in needed:
            discard(path)


def load_features(folder: Path) -> Any:
    """Return the features in a folder, (rows of the split, width) float16, memory-mapped."""
    return np.load(folder / "features.npy", mmap_mode="r")


def fold_rows(manifest: pd.DataFrame, fold: str) -> np.ndarray:
    """Return the places of a fold's rows in the split manifest."""
    return np.flatnonzero(manifest["fold"] == fold)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
