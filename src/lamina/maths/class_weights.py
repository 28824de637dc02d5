"""Weights of classes in a training loss, for classes of different sizes."""

from typing import Literal, TypeAlias

import numpy as np

ClassWeights: TypeAlias = Literal["none", "balanced", "sqrt"]


def class_weights(labels: np.ndarray, classes: int, kind: ClassWeights) -> np.ndarray:
    """Compute the weight of each class, whose mean over the rows is 1.

    Args:
        labels: (n,) class numbers of the training rows.
        classes: number of classes; each has a row.
        kind: none: all 1; balanced: in proportion to 1 / rows of the class, which is n / (classes x rows of the class)
            as in scikit-learn's `compute_class_weight`; sqrt: in proportion to 1 / the square root of these rows, which
            lies between the two.

    Returns:
        (classes,) float32. A class without rows gets the weight of one with a single row.
    """
    power = {"none": 0.0, "balanced": 1.0, "sqrt": 0.5}[kind]
    counts = np.bincount(labels, minlength=classes)
    weights = np.maximum(counts, 1) ** -power
    return np.asarray(weights * (len(labels) / (counts @ weights)), np.float32)
