"""The search: interrupted, with fewer trials, and what the pruners end."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lamina.config import section
from lamina.errors import UserError
from lamina.tasks.runs import read_run
from lamina.training.history import DivergedError, EpochRow
from lamina.training.learner import TrainingOptions
from lamina.training.settings import GradientNumbers, RunSettings
from lamina.tuning.places import Direction, place_of
from lamina.tuning.search import TuneConfig, search
from lamina.tuning.studies import resume
from nightly import by_time
from searching import EPOCHS, IDENTITY, RANGES, RUN, Hill, config, searched
from systems import HEAD, TUNE, learner_of, write_classes_as_features

PRUNERS = ("median", "hyperband", "none")
TRIALS = 8


class Killed(BaseException):
    """Raised by a test in the middle of a trial, as if the process were killed."""


def cut_off(after: int) -> Hill:
    """A learner that ends the search after so many epochs."""
    epochs = count()

    def pause() -> None:
        if next(epochs) == after:
            raise Killed

    return Hill(on_epoch=pause)


@pytest.mark.parametrize("pruner", by_time(PRUNERS, ["median"]))
def test_an_interrupted_search_ends_like_an_uninterrupted_one(pruner: str, tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", TRIALS, Hill(), pruner=pruner)
    for epochs in (3, 25, 14):
        with pytest.raises(Killed):
            searched(tmp_path / "cut", TRIALS, cut_off(epochs), pruner=pruner)
    numbers, trials = searched(tmp_path / "cut", TRIALS, Hill(), pruner=pruner)
    pd.testing.assert_frame_equal(trials, whole[1], check_exact=True)
    assert numbers == whole[0]


@pytest.mark.nightly
@pytest.mark.parametrize("pruner", PRUNERS)
def test_fewer_trials_are_the_first_of_more(pruner: str, tmp_path: Path) -> None:
    _, more = searched(tmp_path / "more", TRIALS, Hill(), pruner=pruner)
    _, fewer = searched(tmp_path / "fewer", 5, Hill(), pruner=pruner)
    pd.testing.assert_frame_equal(fewer, more.head(5), check_exact=True)
    _, on = searched(tmp_path / "fewer", TRIALS, Hill(), pruner=pruner)
    pd.testing.assert_frame_equal(on, more, check_exact=True)


@pytest.mark.nightly
def test_pruners_end_trials_at_their_rungs(tmp_path: Path) -> None:
    found = {pruner: searched(tmp_path / pruner, 24, Hill(), pruner=pruner)[1] for pruner in PRUNERS}
    for trials in found.values():
        assert (trials.loc[trials["state"] == "COMPLETE", "epochs"] == EPOCHS).all()
        assert (trials.loc[trials["state"] == "PRUNED", "epochs"] < EPOCHS).all()
        best = trials[trials["state"] == "COMPLETE"].sort_values("value").iloc[-1]
        assert 1e-3 < best["learning_rate"] < 1e-1
    assert set(found["none"]["state"]) == {"COMPLETE"}
    rungs = found["hyperband"].loc[found["hyperband"]["state"] == "PRUNED", "epochs"]
    assert set(rungs) <= {2, 6, 18}
    assert {2, 6} <= set(rungs)
    assert found["median"].loc[found["median"]["state"] == "PRUNED", "epochs"].min() >= EPOCHS // 4
    for pruner in ("median", "hyperband"):
        assert found[pruner]["epochs"].sum() < 0.7 * found["none"]["epochs"].sum()


def test_other_ranges_are_another_study(tmp_path: Path) -> None:
    searched(tmp_path, 2, Hill())
    searched(tmp_path, 2, Hill(), identity={"tune": {**RANGES, "dropout": [0.0, 0.3]}, "data": "abc"})
    assert len(list(tmp_path.glob("hill-*.db"))) == 2


@pytest.mark.parametrize(("key", "value"), [("pruner", "asha"), ("workers", 0)])
def test_an_unknown_pruner_and_no_worker_are_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"tune\.{key}: .*got {value!r}"):
        config(3, **{key: value})


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("learning_rate", 5, "tune.learning_rate"),
        ("learning_rate", None, "tune.learning_rate"),
        ("learning_rate", [1e-5, 100], "less than or equal to 1"),
        ("learning_rate", [0, 1e-2], "greater than 0"),
        ("dropout", [0.0, 1.5], "less than 1"),
        ("decay", [0.1, 0.01], "with low below high"),
        ("penalty", [0, 1], "tune.penalty"),
        ("trials", -1, "greater than or equal to 0"),
        ("trails", 3, "did you mean 'tune.trials'"),
    ],
)
def test_bad_ranges_are_refused_with_their_place(key: str, value: object, match: str) -> None:
    with pytest.raises(UserError, match=match):
        section({"tune": TUNE | {key: value}}, "tune", TuneConfig)


def test_trials_that_diverge_have_the_worst_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_classes_as_features(tmp_path))
    learner = learner_of(HEAD | {"dropout": "tune"})
    mean, variance = learner.moments
    vars(learner)["moments"] = (np.full_like(mean, np.nan), variance)
    place = place_of("head", "default", IDENTITY, tmp_path / "studies")
    resume(place)
    asked = section({"tune": TUNE | {"trials": 2}}, "tune", TuneConfig)
    _, _, trials = search(learner, asked, place, measure="accuracy", name="head", seed=1)
    assert trials["value"].tolist() == [-math.inf, -math.inf]
    assert trials["epochs"].tolist() == [0, 0]


def test_a_direction_of_minimize_takes_the_smallest_value(tmp_path: Path) -> None:
    """For an error in place of an accuracy, the worst rate is the best one."""
    place = place_of("hill", "tests", IDENTITY, tmp_path, "minimize")
    resume(place)
    numbers, _, trials = search(Hill(), config(6, pruner="none"), place, measure="accuracy", name="hill", seed=7)
    assert numbers.learning_rate == trials.loc[trials["value"].idxmin(), "learning_rate"]
    assert trials["value"].nunique() > 1


# ---- what a trial is worth


@dataclass(frozen=True)
class Scripted:
    """A learner whose history is known. rows: of a training with these settings, or what it raises."""

    settings: RunSettings
    rows: Callable[[RunSettings], list[EpochRow]]

    def learn(self, numbers: GradientNumbers, options: TrainingOptions) -> "Scripted":
        for row in self.history:
            options.on_epoch(row)
        return self

    @property
    def history(self) -> list[EpochRow]:
        return self.rows(self.settings)


def scripted(
    folder: Path, rows: Callable[[RunSettings], list[EpochRow]], direction: Direction, **changes: Any
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Search with a scripted learner; return what was found of the settings, and the trials."""
    place = place_of("hill", "tests", IDENTITY, folder, direction)
    resume(place)
    learner = Scripted(read_run({"runs": {"hill": RUN | changes}}, "hill").settings, rows)
    asked = config(6, pruner="none")
    _, found, trials = search(learner, asked, place, measure="accuracy", name="hill", seed=7)  # type: ignore[arg-type]
    return found, trials


@pytest.mark.parametrize(("direction", "value"), [("maximize", 0.0), ("minimize", 2e6)])
def test_a_trial_that_diverges_is_worse_than_the_worst_in_any_unit(
    direction: Direction, value: float, tmp_path: Path
) -> None:
    trainings = count()

    def rows(settings: RunSettings) -> list[EpochRow]:
        if next(trainings) == 0:
            raise DivergedError("the loss is not finite")
        return [{"epoch": 1, "validation_accuracy": value, "validation_loss": 1.0}]

    found, trials = scripted(tmp_path, rows, direction, learning_rate=0.1, tune={"batch_size": [2, 2**16]})
    assert [math.isfinite(one) for one in trials["value"]] == [False] + [True] * 5
    assert found["batch_size"] == trials["batch_size"][1]


def test_a_trial_is_worth_the_epoch_that_its_own_patience_keeps(tmp_path: Path) -> None:
    def rows(settings: RunSettings) -> list[EpochRow]:
        pairs = enumerate([(0.9, 1.0), (0.5, 2.0)], start=1)
        return [{"epoch": epoch, "validation_accuracy": one, "validation_loss": loss} for epoch, (one, loss) in pairs]

    found, trials = scripted(tmp_path, rows, "maximize", tune={"patience": [None, 3]})
    assert set(trials["patience"].isna()) == {True, False}
    assert trials["value"].tolist() == np.where(trials["patience"].isna(), 0.5, 0.9).tolist()
    assert found == {"patience": 3}


def test_whole_ends_of_a_range_of_any_numbers_are_no_range_of_whole_numbers(tmp_path: Path) -> None:
    def rows(settings: RunSettings) -> list[EpochRow]:
        return [{"epoch": 1, "validation_accuracy": 0.5, "validation_loss": 1.0}]

    _, trials = scripted(tmp_path, rows, "maximize", tune={"mixup": [0, 1], "batch_size": [2, 9]})
    assert trials["mixup"].between(0, 1, inclusive="neither").all()
    assert all(type(one) is int for one in trials["batch_size"].tolist())
