"""Which tuned number decides what trials reach."""

import numpy as np
import pandas as pd
import pytest

from lamina.charts.figures import scatter
from lamina.tuning.importance import TRIALS_TO_WEIGH, importances

NUMBERS = ("learning_rate", "dropout", "decay")


def trials_of(number: str, count: int = 40) -> pd.DataFrame:
    """Return trials whose value depends on one number alone."""
    rng = np.random.default_rng(3)
    rates = 10 ** rng.uniform(-5, -2, (2, count))
    numbers = pd.DataFrame({"learning_rate": rates[0], "dropout": rng.uniform(0, 0.7, count), "decay": rates[1]})
    value = 0.9 - (numbers[number].rank() - count / 2).abs() / count
    trials = pd.DataFrame({"number": range(count), "state": "COMPLETE", "value": value})
    return trials.join(numbers).assign(epochs=20)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_number_that_decides_is_found(number: str) -> None:
    trials = trials_of(number)
    shares = importances(trials)
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[number] > 0.7
    assert importances(trials) == shares


def test_too_few_trials_or_numbers_show_nothing() -> None:
    trials = trials_of("learning_rate")
    one = trials.assign(dropout=0.3, decay=0.3)
    assert importances(one) is None, "of one number there is nothing to compare"
    assert importances(trials.head(TRIALS_TO_WEIGH - 1)) is None
    assert importances(trials.assign(state=["COMPLETE"] * 15 + ["PRUNED"] * 25)) is None


@pytest.mark.parametrize(
    ("values", "weighed"),
    [
        ([0.0, 0.1, 0.2, 0.3], True),
        ([0, 5, 2, 1], True),
        ([True, False] * 2, False),
        ([np.nan, 5.0, 10.0, np.nan], False),
    ],
)
def test_settings_with_a_zero_are_weighed_and_those_without_numbers_left_out(
    values: list[object], weighed: bool
) -> None:
    trials = trials_of("dropout").assign(setting=values * 10).drop(columns="decay")
    trials = trials[[*trials.columns.drop("epochs"), "epochs"]]
    shares = importances(trials)
    assert shares is not None
    assert ("setting" in shares) == weighed
    assert shares["dropout"] > 0.7
    same = trials.assign(learning_rate=0.1, dropout=0.3)
    assert scatter(same).axes[0].get_xscale() == ("linear" if weighed else "log")


def test_trials_that_diverged_weigh_nothing() -> None:
    trials = trials_of("dropout")
    diverged = trials.assign(value=trials["value"].where(trials["number"] % 5 > 0, -np.inf))
    assert importances(diverged) == importances(trials[trials["number"] % 5 > 0])
