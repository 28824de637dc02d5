"""The answer of `lamina predict` for one picture or text."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamina.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The most probable class and the probabilities of all, or why there is none."""

    path: str
    predicted: str | None
    probabilities: dict[str, float]
    error: str | None = None


def prediction(path: str, classes: list[str], probabilities: np.ndarray) -> Prediction:
    """Return the prediction for one row of probabilities, (classes,)."""
    shares = {name: float(share) for name, share in zip(classes, probabilities, strict=True)}
    return Prediction(path=path, predicted=max(shares, key=shares.__getitem__), probabilities=shares)


def failed(path: str, error: str) -> Prediction:
    """Return the answer for a picture or text that cannot be read."""
    return Prediction(path=path, predicted=None, probabilities={}, error=error)


def find_files(paths: Sequence[Path], suffixes: Collection[str], item: str) -> list[Path]:
    """Return files as given, and all files with one of `suffixes` below given folders, sorted.

    Args:
        paths: Files and folders.
        suffixes: In lower case, with the dot.
        item: What a file holds, for messages: "picture" or "text".

    Raises:
        UserError: If a path is missing or a folder holds no such file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
            if not inside:
                raise UserError(f"{path}: no {item} in this folder; expected {', '.join(sorted(suffixes))}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path}: not found; expected a {item} or a folder of {item}s")
    return found
