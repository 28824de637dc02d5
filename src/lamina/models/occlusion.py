"""Occlusion: what covering a place of a picture costs a class. It needs no gradient, only predictions.

Source: Zeiler and Fergus, ECCV 2014, section 4.2.
"""

from itertools import pairwise
from typing import Final

import numpy as np

from lamina.models.inference import Predictor

GRID: Final = 7  # places in each direction
_LEAST: Final = 1e-7  # probability, before its logarithm


class Occlusion:
    """Explains a classifier of any kind; the same question as `lamina.models.saliency.Saliency`.

    Args:
        predict: from (n, S, S, 3) RGB values 0..255 to (n, classes) probabilities.
    """

    method = "occlusion"

    def __init__(self, predict: Predictor) -> None:
        self._predict = predict

    def shares(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Compute how much the log-odds of some classes fall when a place is covered with the picture's mean color.

        Args:
            pixels: (n, S, S, 3) RGB 0..255.
            classes: (n, k) class numbers; row i is for picture i.

        Returns:
            (n, k, 7, 7) float32, in logits: positive values support the class, negative ones oppose it. The result of
            a picture depends on it alone.
        """
        return np.array([self._of_one(picture, row) for picture, row in zip(pixels, classes, strict=True)], np.float32)

    def _of_one(self, picture: np.ndarray, classes: np.ndarray) -> np.ndarray:
        odds = _log_odds(self._predict(np.stack([picture, *covered(picture)]))[:, classes])
        falls: np.ndarray = (odds[0] - odds[1:]).T.reshape(len(classes), GRID, GRID)
        return falls


def covered(picture: np.ndarray) -> np.ndarray:
    """Cover one place after the other, row by row, with the mean color.

    Args:
        picture: (S, S, 3).

    Returns:
        (49, S, S, 3) float32.
    """
    edges = np.linspace(0, len(picture), GRID + 1).round().astype(int)
    places = [slice(*pair) for pair in pairwise(edges)]
    shown = np.repeat(np.asarray(picture, np.float32)[None], GRID * GRID, axis=0)
    mean = shown[0].mean(axis=(0, 1))
    for number in range(GRID * GRID):
        shown[number, places[number // GRID], places[number % GRID]] = mean
    return shown


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    kept = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    odds: np.ndarray = np.log(kept) - np.log1p(-kept)
    return odds
