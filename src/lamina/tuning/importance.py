"""Which of the tuned numbers mattered."""

from typing import Final

import pandas as pd

from lamina.tuning.numbers import LINEAR

# Measured in 12 searches each on a simulated noisy accuracy: the number that decided came first in 12 searches of 40
# trials, 11 of 24, 10 of 16, and 8 of 12 or 8. Fewer trials are little more than a guess. PED-ANOVA: 11, 10, 7 and 3.
TRIALS_TO_WEIGH: Final = 16


def importances(trials: pd.DataFrame) -> dict[str, float] | None:
    """Return the share of the differences between trials that each tuned number explains.

    Args:
        trials: Columns of `trials.csv`. Only trials that ran to the end count.

    Returns:
        Shares from 0 to 1 by name, reproducible; None if fewer than `TRIALS_TO_WEIGH` trials ended or fewer than two
        numbers were tuned.

    Source:
        fANOVA (Hutter et al. 2014), as implemented in Optuna.
    """
    done = trials[trials["state"] == "COMPLETE"]
    tuned = [name for name in number_columns(trials) if done[name].nunique() > 1]
    if len(done) < TRIALS_TO_WEIGH or len(tuned) < 2:
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tried: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(done[name].min(), done[name].max(), log=name not in LINEAR)
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
    """Return the columns of `trials.csv` that are numbers to tune, between `value` and `epochs`: not those of words."""
    columns = list(trials.columns)
    tuned = columns[columns.index("value") + 1 : columns.index("epochs")]
    return [name for name in tuned if pd.api.types.is_numeric_dtype(trials[name]) or not len(trials)]
