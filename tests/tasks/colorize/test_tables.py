"""Tables of colorizers: duels with the baselines, and the axis that all runs share."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finished import color_scores
from lamina.charts.comparison import MOST_TICKS
from lamina.tasks.colorize import tables
from lamina.tasks.colorize.results import Against, ColorScores

MSE = st.floats(0, 20_000, allow_subnormal=False).map(lambda value: round(value, 3))


@dataclass
class Fold:
    """What `metrics` of a run has, as far as the tables need it."""

    test: ColorScores


@dataclass
class Run:
    """A run as far as the tables need it."""

    name: str
    metrics: Fold
    predictions: pd.DataFrame


def run(name: str, mse: list[float], **scores: Any) -> Any:
    mean = sum(mse) / len(mse)
    rows = pd.DataFrame(
        {"id": [f"{n}" for n in range(len(mse))], "origin": [f"{n}" for n in range(len(mse))], "mse": mse}
    )
    return Run(name, Fold(ColorScores.model_validate(color_scores(mean, **scores))), rows)


def test_wins_are_counted_by_picture() -> None:
    table = pd.DataFrame({"mse": [1.0, 5, 3, 2], "grey_mse": [2.0, 4, 3, 9], "mean_mse": [0.0, 0, 0, 3]})
    found = tables.duels(ColorScores.model_validate(color_scores(2.75)).against, table)
    assert {name: duel.wins for name, duel in found.items()} == {"grey": 0.5, "mean": 0.25}


def test_a_difference_without_an_interval_decides_nothing() -> None:
    assert Against(difference=-3.0).verdict == "open"
    assert Against(difference=-3.0, interval=(-4.0, -2.0)).verdict == "better"
    assert Against(difference=3.0, interval=(2.0, 4.0)).verdict == "worse"


def test_the_order_of_pictures_in_a_file_does_not_count() -> None:
    one, two = run("one", [1.0, 2, 3, 4, 5, 6]), run("two", [2.0, 4, 5, 5, 7, 6])
    turned = run("two", [2.0, 4, 5, 5, 7, 6])
    turned.predictions = turned.predictions.iloc[::-1]
    assert tables.comparison([one, turned]) == tables.comparison([one, two])


def test_the_lowest_error_comes_first_and_equals_by_name() -> None:
    runs = [run("c", [3.0, 3]), run("b", [1.0, 1]), run("a", [3.0, 3])]
    assert [one.name for one in tables.ranked(runs)] == ["b", "a", "c"]


@given(st.lists(st.tuples(MSE, MSE, MSE, st.none() | st.tuples(MSE, MSE)), min_size=1, max_size=5))
def test_the_axis_holds_all_that_is_drawn(
    drawn: list[tuple[float, float, float, tuple[float, float] | None]],
) -> None:
    runs = []
    for mse, grey, mean, interval in drawn:
        scores = color_scores(mse, grey=grey, mean=mean)
        scores["measures"]["mse"]["interval"] = interval
        runs.append(Run("a", Fold(ColorScores.model_validate(scores)), pd.DataFrame()))
    scale = tables.scale(runs)  # type: ignore[arg-type]
    values = [value for *three, interval in drawn for value in (*three, *(interval or ()))]
    assert scale.low <= min(values) + 1e-6
    assert scale.high >= max(values) - 1e-6
    assert scale.high > scale.low
    assert 2 <= len(scale.ticks) <= MOST_TICKS + 2


def test_the_lower_baseline_is_the_one_to_beat() -> None:
    assert tables.lower_baseline(run("a", [90.0], grey=200.0, mean=180.0), "test") == ("training mean", 180.0)
    assert tables.lower_baseline(run("a", [90.0], grey=20.0, mean=180.0), "test") == ("grey", 20.0)
    assert tables.baselines(run("a", [90.0]))["mean"].gone == pytest.approx(0.1)
