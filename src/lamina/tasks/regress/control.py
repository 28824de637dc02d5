"""The negative control of runs that predict a number."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lamina.maths.target_shuffles import Places
from lamina.results.assessment import TargetControl
from lamina.results.repeats import Retrainer
from lamina.tasks.metadata_control import control_of_targets


def control(retrainer: Retrainer) -> TargetControl:
    """Train with numbers that are shuffled between origins, and test the mean absolute error."""
    return control_of_targets(retrainer, open_mae, higher_is_better=False)


def open_mae(truth: np.ndarray, judged: pd.DataFrame) -> Callable[[Places], float]:
    """Return the mean absolute error as a function of the true answers' rows.

    Args:
        truth: (rows, 1).
        judged: (n rows) with `predicted`.
    """
    numbers, predicted = truth[:, 0], judged["predicted"].to_numpy(np.float64)
    return lambda source: float(np.abs(numbers[source] - predicted).mean())
