"""Studies that several workers share, and what happens when one of them goes away."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lamina.errors import UserError
from lamina.training.learner import TrainingOptions
from lamina.training.settings import GradientNumbers
from lamina.tuning.places import SHARED, place_of
from lamina.tuning.storages import open_storage
from lamina.tuning.studies import HEARTBEAT, Signs, open_study, resume
from searching import GRACE, IDENTITY, RANGES, Hill, searched
from sharing import TRIALS, Shared, Worker, begun, first_journal, go, only_journal, states, wait_for


@first_journal
def test_a_worker_takes_over_from_one_that_is_killed(shared: Shared, worker: Worker, tmp_path: Path) -> None:
    workers = [worker("killed", number, pause=0.05) for number in range(2)]
    go(tmp_path, 2)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 3 and len(begun(tmp_path, 1)) >= 1, *workers)
    workers[0].kill()
    workers[0].communicate()
    last = begun(tmp_path, 0)[-1]
    error = workers[1].communicate(timeout=300)[1]
    assert workers[1].returncode == 0, error
    trials = pd.read_csv(tmp_path / "trials-1.csv")
    assert trials["number"].tolist() == list(range(TRIALS))
    assert not trials.duplicated(["learning_rate", "dropout"]).any()
    assert last in trials[["learning_rate", "dropout"]].to_numpy().tolist(), "run again with the same numbers"
    best = trials.loc[trials["value"].idxmax()]
    numbers = GradientNumbers(learning_rate=best["learning_rate"], dropout=best["dropout"], decay=best["decay"])
    alone = Hill().learn(numbers, TrainingOptions(epochs=int(best["epochs"]))).history[-1]
    assert best["value"] == alone["validation_accuracy"], "as if the same trial had been run alone"
    kept = begun(tmp_path, 0)[:-1]
    assert all(numbers in trials[["learning_rate", "dropout"]].to_numpy().tolist() for numbers in kept)
    found = states("killed")
    assert sum(state in ("COMPLETE", "PRUNED") for state in found) == TRIALS
    assert set(found) <= {"COMPLETE", "PRUNED", "FAIL"}


@first_journal
def test_workers_end_with_the_same_trials(shared: Shared, worker: Worker, tmp_path: Path) -> None:
    workers = [worker("both", number) for number in range(2)]
    go(tmp_path, 2)
    for process in workers:
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 0, error
    assert all(begun(tmp_path, number) for number in range(2))
    assert (tmp_path / "trials-0.csv").read_bytes() == (tmp_path / "trials-1.csv").read_bytes()
    assert len(begun(tmp_path, 0)) + len(begun(tmp_path, 1)) == TRIALS


@only_journal
def test_a_trial_whose_worker_died_before_its_first_heartbeat_is_given_up(shared: Shared, tmp_path: Path) -> None:
    import optuna

    place = place_of("mute", "tests", IDENTITY, tmp_path)
    resume(place)
    with open_storage(place) as storage:
        optuna.load_study(study_name=place.study, storage=storage).ask()
    _, trials = searched(tmp_path, 3, Hill(), name="mute")
    assert len(trials) == 3
    assert states("mute").count("FAIL") == 1


@first_journal
def test_a_worker_that_slept_too_long_continues(shared: Shared, worker: Worker, tmp_path: Path) -> None:
    sleeper = worker("sleeper", 0, trials=4, pause=0.1)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 1, sleeper)
    time.sleep(0.5)
    sleeper.send_signal(signal.SIGSTOP)
    try:
        _, trials = searched(tmp_path, 4, Hill(), name="sleeper")
    finally:
        sleeper.send_signal(signal.SIGCONT)
    error = sleeper.communicate(timeout=300)[1]
    assert sleeper.returncode == 0, error
    assert len(trials) == 4
    assert begun(tmp_path, 0)[0] in trials[["learning_rate", "dropout"]].to_numpy().tolist()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "trials-0.csv"), trials)


@first_journal
def test_workers_with_other_settings_are_refused_and_both_studies_named(
    shared: Shared, worker: Worker, tmp_path: Path
) -> None:
    process = worker("stranger", 0, trials=2, pause=0.1)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 1, process)
    other = {"tune": {**RANGES, "dropout": [0.0, 0.3]}, "data": "abc"}
    with pytest.raises(UserError) as caught:
        searched(tmp_path, 2, Hill(), name="stranger", identity=other)
    process.communicate(timeout=300)
    message = str(caught.value)
    assert place_of("stranger", "tests", IDENTITY, tmp_path).study in message
    assert place_of("stranger", "tests", other, tmp_path).study in message
    assert "tune.dropout is [0.0, 0.7] there, [0.0, 0.3] here" in message
    assert len(searched(tmp_path, 2, Hill(), name="stranger", identity=other)[1]) == 2


@only_journal
def test_trials_of_dead_workers_with_other_settings_are_given_up(shared: Shared, tmp_path: Path) -> None:
    import optuna

    other = place_of("dead", "tests", {"data": "other"}, tmp_path)
    resume(other)
    with open_storage(other) as storage:
        study = optuna.load_study(study_name=other.study, storage=storage)
        study.ask().suggest_float("learning_rate", 0.1, 0.2)
        assert len(searched(tmp_path, 2, Hill(), name="dead")[1]) == 2
        assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]


def test_a_worker_sends_heartbeats_while_it_computes(shared: Shared, tmp_path: Path) -> None:
    place = replace(place_of("beats", "tests", IDENTITY, tmp_path), grace=GRACE)
    resume(place)
    with open_study(place, None) as opened:
        taken = opened.take(1)
        assert taken is not None
        with opened.working_on(taken[0]):
            wait_for(lambda: opened.study.trials[0].system_attrs.get(HEARTBEAT, 0) > 0, seconds=GRACE)


def test_a_process_killed_while_it_makes_a_study_leaves_none(tmp_path: Path) -> None:
    """A file with some of the tables, or one without its index, could not be used."""
    imports = "from lamina.tuning.places import Place; from lamina.tuning.studies import resume; "
    code = imports + "resume(Place(url='sqlite:///s/a.db', study='a', identity={}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(list(tmp_path.glob("s/.part-*/a.db"))), process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "s" / "a.db").exists()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.db"]


def test_results_do_not_depend_on_where_the_study_is(shared: Shared, tmp_path: Path) -> None:
    assert place_of("hill", "tests", IDENTITY, tmp_path).identity == IDENTITY
    numbers, trials = searched(tmp_path, 3, Hill(), pruner="none")
    os.environ.pop(SHARED)
    alone_numbers, alone_trials = searched(tmp_path, 3, Hill(), pruner="none")
    assert numbers == alone_numbers
    pd.testing.assert_frame_equal(trials, alone_trials, check_exact=True)


def test_a_worker_is_dead_once_its_trial_shows_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clocks of the machines say: only the time between two looks of one process counts."""
    from optuna.trial import FrozenTrial, TrialState, create_trial

    def trial(state: TrialState = TrialState.RUNNING, beat: int = 0, reports: int = 0) -> FrozenTrial:
        values = dict.fromkeys(range(reports), 0.5)
        return create_trial(
            state=state, value=0.5, system_attrs={HEARTBEAT: beat}, intermediate_values=values, params={}
        )

    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    signs = Signs(60)
    assert not signs.dead([trial()])
    now += 61
    assert len(signs.dead([trial()])) == 1
    assert not signs.dead([trial(beat=1)])
    now += 61
    assert not signs.dead([trial(beat=1, reports=1)])
    now += 61
    assert not signs.dead([trial(TrialState.COMPLETE, beat=1, reports=1)])
