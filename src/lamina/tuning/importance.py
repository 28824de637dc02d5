"""Which of the tuned numbers mattered."""

from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.tuning.numbers import LINEAR

# Measured in 12 searches each on a simulated noisy accuracy: the number that decided came first in 12 searches of 40
# trials, 11 of 24, 10 of 16, and 8 of 12 or 8. Fewer trials are little more than a guess. PED-ANOVA: 11, 10, 7 and 3.
TRIALS_TO_WEIGH: Final = 16


def importances(trials: pd.DataFrame) -> dict[str, float] | None:
    """Return the share of the differences between trials that each tuned number explains.

    Args:
        trials: Columns of `trials.csv`. Only trials that ran to the end count, and none whose loss was not finite.

    Returns:
        Shares from 0 to 1 by name, reproducible; None if fewer than `TRIALS_TO_WEIGH` trials ended or fewer than two
        numbers were tuned.

    Source:
        fANOVA (Hutter et al. 2014), as implemented in Optuna.
    """
    done = trials[(trials["state"] == "COMPLETE") & np.isfinite(trials["value"].to_numpy(dtype=float))]
    tuned = [name for name in number_columns(trials) if done[name].nunique() > 1]
    if len(done) < TRIALS_TO_WEIGH or len(tuned) < 2:
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tried: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(done[name].min(), done[name].max(), log=is_logarithmic(done[name]))
        for name in tuned
    }
    study = optuna.create_study(direction="maximize")
    for *numbers, value in done[[*tuned, "value"]].to_numpy(dtype=float):
        params = dict(zip(tuned, numbers, strict=True))
        study.add_trial(optuna.create_trial(params=params, distributions=tried, value=value))
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0), params=tuned
    )
    return {str(name): float(share) for name, share in found.items()}


def number_columns(trials: pd.DataFrame) -> list[str]:
    """Return the columns of `trials.csv` that are numbers to tune, between `value` and `epochs`.

    Not those of words, of yes and no, or where some trials have no number.
    """
    columns = list(trials.columns)
    tuned = columns[columns.index("value") + 1 : columns.index("epochs")]
    return [name for name in tuned if _is_number(trials[name]) or not len(trials)]


def is_logarithmic(tried: "pd.Series[Any]") -> bool:
    """Whether the values of a tuned number lie on a logarithmic scale; its name is that of the column."""
    return tried.name not in LINEAR and bool(tried.min() > 0)


def _is_number(tried: "pd.Series[Any]") -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(tried) and not types.is_bool_dtype(tried) and bool(tried.notna().all())
