"""Temperature scaling: one number that makes probabilities as sure as they are right."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.maths.calibration import checked

RANGE: Final = (0.05, 20.0)  # of temperatures
# Standard deviation of ln T before a picture is seen: a factor of 2. It counts little next to some ten origins, and
# keeps T away from 0 where every validation answer is right
PRIOR: Final = float(np.log(2))
LEAST: Final = float(np.finfo(np.float32).tiny)


def fit_temperature(probabilities: ArrayLike, label: ArrayLike, origin: ArrayLike) -> float:
    """Find the temperature that makes the labels most likely.

    Args:
        probabilities: (n, classes), rows with sum 1, of pictures that the classifier did not learn from.
        label: (n,) column number of the true class.
        origin: (n,) origin of each picture; every origin counts as one, however many pictures it has.

    Returns:
        T. Above 1 the classifier is too sure, below 1 not sure enough.

    Raises:
        ValueError: if there are no pictures, or if lengths differ.

    Source:
        C. Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    predicted, truth, group = checked(probabilities, label, origin)
    logits = np.log(np.maximum(predicted, LEAST))
    weights = 1 / np.bincount(group)[group]

    def loss(log_temperature: float) -> float:
        shares = _softmax(logits / np.exp(log_temperature))
        likelihood = np.log(np.maximum(shares[np.arange(len(truth)), truth], LEAST))
        return float(-(weights @ likelihood) + log_temperature**2 / (2 * PRIOR**2))

    bounds = np.log(RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=tuple(bounds), method="bounded").x))


def scaled(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Scale the logits of probabilities, (n, classes), by 1 / T. The order of the classes stays."""
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), LEAST))
    return _softmax(logits / temperature)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return shares
