"""Which of the numbers that were tuned mattered."""

from typing import Final

import pandas as pd

# In 12 searches each of a made-up accuracy with noise, the number that decided came first in 12 of 40 trials, in 11 of
# 24, in 10 of 16 and in 8 of 8 or 12: with fewer trials little more than a guess. PED-ANOVA: 11, 10, 7, and 3 of 8.
TRIALS_TO_WEIGH: Final = 16


def importances(trials: pd.DataFrame) -> dict[str, float] | None:
    """What share (0 to 1) of the differences between trials each tuned number explains, the same for the same trials.

    trials: the columns of `trials.csv`. Only those count that ran to the end; None where they are fewer than
    `TRIALS_TO_WEIGH` or fewer than two numbers were tuned. Source: fANOVA (Hutter et al. 2014), as Optuna has it.
    """
    done = trials[trials["state"] == "COMPLETE"]
    tuned = [name for name in number_columns(trials) if done[name].nunique() > 1]
    if len(done) < TRIALS_TO_WEIGH or len(tuned) < 2:
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tried: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(done[name].min(), done[name].max(), log=name != "dropout")
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
    """Return the columns of `trials.csv` that are numbers to tune: those between `value` and `epochs`."""
    columns = list(trials.columns)
    return columns[columns.index("value") + 1 : columns.index("epochs")]
