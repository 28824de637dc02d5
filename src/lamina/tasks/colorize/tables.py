"""Values of the report's tables of colorizers: ranking, axis, and comparison with two baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import pandas as pd

from lamina.charts.comparison import Comparison, Scale, compared, number_scale, same_pictures
from lamina.maths.color_scores import RANGES
from lamina.maths.comparison import mean_differences
from lamina.results.trained import TrainedRun
from lamina.tasks.colorize.results import ColorScores, Differences

BASELINES: Final = {"grey": "grey", "mean": "training mean"}
IN_WORDS: Final = {"grey": "grey", "mean": "the training mean"}
MEASURES: Final = tuple(RANGES)
SHOWN: Final = ("colorfulness", "auc_rebalanced", "auc", "ciede2000", "psnr", "ssim")  # in addition to the MSE


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An answer without learning: its name, its test measures, and by which share its MSE is below grey's."""

    name: str
    values: Mapping[str, float]
    gone: float | None


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Comparison of a run with a baseline on the same pictures.

    Attributes:
        name: Of the baseline.
        better: By how much the run's MSE is lower (negative: higher).
        interval: 95 % interval of it; None for a single origin.
        verdict: `better`, `worse` or `open`.
        wins: Share of the pictures (0 to 1) with a lower MSE.
    """

    name: str
    better: float
    interval: tuple[float, float] | None
    verdict: str
    wins: float


def ranked(runs: Sequence[TrainedRun]) -> list[TrainedRun]:
    """Sort by test MSE, then by name. Raises UserError if runs were tested on different pictures."""
    if runs:
        same_pictures({run.name: run.predictions for run in runs})
    return sorted(runs, key=lambda run: (run.metrics.test.value, run.name))


def comparison(runs: Sequence[TrainedRun]) -> Comparison | None:
    """Compare the test MSE of all pairs of runs, best first; None for a single run.

    Raises UserError if runs were tested on different pictures.
    """
    if len(runs) < 2:
        return None
    answers = same_pictures({run.name: run.predictions for run in runs})
    errors = {name: table["mse"].to_numpy() for name, table in answers.items()}
    return compared(list(errors), mean_differences(errors, answers[runs[0].name]["origin"].to_numpy()))


def baselines(run: TrainedRun) -> dict[str, Baseline]:
    """Return the two baselines on the run's test pictures, the same for every run of a system."""
    test = test_scores(run)
    values = {name: {one: getattr(test.measures[one], name) for one in MEASURES} for name in BASELINES}
    grey = values["grey"]["mse"]
    return {
        name: Baseline(name=words, values=values[name], gone=1 - values[name]["mse"] / grey if grey else None)
        for name, words in BASELINES.items()
    }


def test_scores(run: TrainedRun) -> ColorScores:
    """Return a colorizer's scores on the test pictures."""
    return cast(ColorScores, run.metrics.test)


def duels(differences: Differences, pictures: pd.DataFrame) -> dict[str, Duel]:
    """Compare a run with each baseline, picture by picture; pictures: columns `mse`, `grey_mse` and `mean_mse`."""
    found = {}
    for name, words in IN_WORDS.items():
        against = getattr(differences, name)
        wins = pictures["mse"].to_numpy() < pictures[f"{name}_mse"].to_numpy()
        found[name] = Duel(
            name=words,
            better=-against.difference,
            interval=None if against.interval is None else (-against.interval[1], -against.interval[0]),
            verdict=against.verdict,
            wins=float(np.mean(wins)) if len(wins) else 0.0,
        )
    return found


def lower_baseline(run: TrainedRun, fold: str) -> tuple[str, float]:
    """Return name and MSE of the better baseline in a fold: a run below it has learned something about colors."""
    mse = getattr(run.metrics, fold).measures["mse"]
    return min(((words, float(getattr(mse, name))) for name, words in BASELINES.items()), key=lambda one: one[1])


def scale(runs: Sequence[TrainedRun]) -> Scale:
    """Return the narrowest axis for all MSEs, intervals and baselines, in steps of 1, 2 or 5 times 10**k."""
    scores = [test_scores(run).measures["mse"] for run in runs]
    values = [value for one in scores for value in (one.value, one.grey, one.mean, *(one.interval or ()))]
    return number_scale(values)
