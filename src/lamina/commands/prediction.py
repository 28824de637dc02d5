"""The answer of `lamina predict` for one picture or text."""

from dataclasses import dataclass

import numpy as np


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
