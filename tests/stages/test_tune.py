"""The stage `tune`: what it searches for, and a study that resumes, is shared, or is damaged."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lamina.config import section
from lamina.errors import UserError
from lamina.stages.tune import TuneSummary, tune
from lamina.tuning.search import TuneConfig
from lamina.tuning.studies import SHARED
from systems import COLORS, HEAD, LIGHT, TUNE, params_of, stage_of, write_blots, write_classes_as_features

OPEN = {"learning_rate": "tune", "dropout": "tune", "decay": "tune"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes_as_features(tmp_path_factory.mktemp("system"))


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)
    monkeypatch.delenv(SHARED, raising=False)


def tuned(settings: Mapping[str, Any], folder: Path, **changes: Any) -> tuple[TuneSummary, pd.DataFrame]:
    """Run the stage with the study in `folder`; return what it found and the table of trials."""
    config = section({"tune": TUNE | changes}, "tune", TuneConfig)
    summary = tune(stage_of(settings, folder, name="head"), config, studies=folder / "studies")
    return summary, pd.read_csv(folder / "trials.csv")


def test_only_open_numbers_are_searched(tmp_path: Path) -> None:
    summary, trials = tuned(HEAD | {"dropout": "tune"}, tmp_path)
    assert len(trials) == 3
    assert (trials[["learning_rate", "decay"]] == [1e-3, 0.001]).all(axis=None)
    assert trials["dropout"].between(0, 0.5).all()
    best = trials.sort_values("value", ascending=False, kind="stable")["dropout"].iloc[0]
    assert summary.numbers.dropout == best
    assert "best of 3 trials" in str(summary)


def test_given_numbers_are_written_without_trials(tmp_path: Path) -> None:
    summary, trials = tuned(HEAD, tmp_path, trials=0)
    assert len(trials) == 0
    assert list(trials.columns) == ["number", "state", "value", "learning_rate", "dropout", "decay", "epochs"]
    assert str(summary) == "learning_rate 0.001, dropout 0.2, decay 0.001 (given in params.yaml)"
    assert not (tmp_path / "studies").exists()
    assert stage_of(HEAD, tmp_path).numbers() == summary.numbers


@pytest.mark.parametrize("settings", [COLORS, LIGHT], ids=["colors", "light"])
def test_runs_measured_by_an_error_take_the_smallest(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_blots(tmp_path, train=24, validation=12, test=0))
    summary, trials = tuned(settings | {"learning_rate": "tune"}, tmp_path / "out", trials=2, epochs=1)
    best = trials.loc[trials["value"].idxmin()]
    assert summary.numbers.learning_rate == pytest.approx(best["learning_rate"])
    assert trials["value"].max() > trials["value"].min()


def test_fewer_trials_than_a_study_holds_give_the_same_as_a_new_study(tmp_path: Path) -> None:
    settings = HEAD | {"dropout": "tune"}
    tuned(settings, tmp_path / "one", trials=3)
    for folder in ("one", "two"):
        tuned(settings, tmp_path / folder, trials=2)
    assert (tmp_path / "one/trials.csv").read_bytes() == (tmp_path / "two/trials.csv").read_bytes()


def test_a_damaged_study_is_named(tmp_path: Path) -> None:
    tuned(HEAD | {"dropout": "tune"}, tmp_path, trials=2)
    next((tmp_path / "studies").glob("*.db")).write_bytes(b"no database " * 500)
    with pytest.raises(UserError, match=r"head-\w+\.db: not a study .*; delete it and run again"):
        tuned(HEAD | {"dropout": "tune"}, tmp_path, trials=2)


def test_an_open_number_needs_trials(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run head: learning_rate, dropout, decay: tune, but tune\.trials is 0"):
        tuned(HEAD | OPEN, tmp_path, trials=0)


def write_params(folder: Path, trials: int, workers: int = 1) -> None:
    runs = {"head": HEAD | OPEN | {"epochs": 40}}
    params = params_of(runs, tune=TUNE | {"trials": trials, "epochs": 40, "workers": workers})
    (folder / "params.yaml").write_text(json.dumps(params))


def finished_trials(study: Path) -> int:
    if not study.exists():
        return 0
    with sqlite3.connect(study, timeout=10) as database:
        try:
            counted = database.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')").fetchone()
            return int(counted[0])
        except sqlite3.OperationalError:  # the table does not exist yet
            return 0


def test_a_killed_study_continues_with_its_finished_trials(system: Path) -> None:
    write_params(system, trials=6)
    command = [sys.executable, "-m", "lamina.stages.tune", "head"]
    process = subprocess.Popen(command, cwd=system)
    study = None
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        study = next((system / ".lamina/studies").glob("head-*.db"), None)
        if study and finished_trials(study) >= 2:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the study ended before it could be killed"
    assert study is not None
    kept = finished_trials(study)
    assert 2 <= kept < 6
    assert not (system / "models/head/tuned.yaml").exists()
    subprocess.run(command, cwd=system, check=True)
    assert finished_trials(study) == 6
    resumed = (system / "models/head/trials.csv").read_bytes()
    study.unlink()
    subprocess.run(command, cwd=system, check=True)
    assert (system / "models/head/trials.csv").read_bytes() == resumed, "a killed study ends like one that was not"


def test_workers_of_one_machine_share_the_trials(system: Path) -> None:
    write_params(system, trials=5, workers=2)
    command = [sys.executable, "-m", "lamina.stages.tune", "head"]
    done = subprocess.run(command, cwd=system, check=True, capture_output=True, text=True)
    assert "best of 5 trials" in done.stdout
    assert "warning" not in done.stderr
    trials = pd.read_csv(system / "models/head/trials.csv")
    assert trials["number"].tolist() == list(range(5))
    assert not trials.duplicated(["learning_rate", "dropout", "decay"]).any()
