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

import optuna
import pandas as pd
import pytest
from ruamel.yaml import YAML

from lamina.config import section
from lamina.errors import UserError
from lamina.source_code import code_digest
from lamina.stages.tune import TuneSummary, tune
from lamina.tasks.runs import read_run
from lamina.training.settings import GradientNumbers
from lamina.tuning.importance import number_columns
from lamina.tuning.places import SHARED
from lamina.tuning.search import TuneConfig
from systems import (
    COLORS,
    HEAD,
    LEVEL,
    LIGHT,
    NETWORK,
    TUNE,
    params_of,
    stage_of,
    write_blots,
    write_classes_as_features,
    write_stripes,
    write_target_table,
)

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
    assert summary.tuned["dropout"] == best
    assert "best of 3 trials" in str(summary)


def test_given_numbers_are_written_without_trials(tmp_path: Path) -> None:
    summary, trials = tuned(HEAD, tmp_path, trials=0)
    assert len(trials) == 0
    assert list(trials.columns) == ["number", "state", "value", "learning_rate", "dropout", "decay", "epochs"]
    assert str(summary) == "learning_rate 0.001, dropout 0.2, decay 0.001 (given in params.yaml)"
    assert not (tmp_path / "studies").exists()
    assert stage_of(HEAD, tmp_path).numbers() == GradientNumbers.model_validate(summary.tuned)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(HEAD | LEVEL, id="number"),
        pytest.param(COLORS, id="colors", marks=pytest.mark.nightly),
        pytest.param(LIGHT, id="light", marks=pytest.mark.nightly),
    ],
)
def test_runs_measured_by_an_error_take_the_smallest(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings["task"] == "regress":
        monkeypatch.chdir(write_classes_as_features(tmp_path, train=24, validation=12))
        write_target_table(tmp_path, "regress", {"level": range(36)})
    else:
        monkeypatch.chdir(write_blots(tmp_path, train=24, validation=12, test=0))
    summary, trials = tuned(settings | {"learning_rate": "tune"}, tmp_path / "out", trials=2, epochs=1)
    best = trials.loc[trials["value"].idxmin()]
    assert summary.tuned["learning_rate"] == pytest.approx(best["learning_rate"])
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


LONG = HEAD | OPEN | {"epochs": 40}


def write_params(folder: Path, trials: int, workers: int = 1) -> None:
    params = params_of({"head": LONG}, tune=TUNE | {"trials": trials, "epochs": 40, "workers": workers})
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


@pytest.mark.nightly
def test_a_killed_study_continues_with_its_finished_trials(system: Path, tmp_path: Path) -> None:
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
    tuned(LONG, tmp_path, trials=6, epochs=40)
    resumed = (system / "models/head/trials.csv").read_bytes()
    assert (tmp_path / "trials.csv").read_bytes() == resumed, "a killed study ends like one that was not"


def test_workers_of_one_machine_share_the_trials(system: Path) -> None:
    write_params(system, trials=5, workers=2)
    command = [sys.executable, "-m", "lamina.stages.tune", "head"]
    done = subprocess.run(command, cwd=system, check=True, capture_output=True, text=True)
    assert "best of 5 trials" in done.stdout
    assert "warning" not in done.stderr
    trials = pd.read_csv(system / "models/head/trials.csv")
    assert trials["number"].tolist() == list(range(5))
    assert not trials.duplicated(["learning_rate", "dropout", "decay"]).any()


def test_a_search_with_other_code_is_another_study(tmp_path: Path) -> None:
    """Old trials may be worth something else by it; of each module that decides this, an edit is another study."""
    tuned(HEAD | {"dropout": "tune"}, tmp_path, trials=1)
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{next(tmp_path.glob('studies/*.db'))}")
    identity = study.user_attrs["identity"]
    assert identity["search"] == code_digest("lamina.tuning.search")
    assert identity["code"] == code_digest("lamina.tasks.classify.learning")


# ---- any setting


FURTHER = {"label_smoothing": [0.0, 0.3], "batch_size": [2, 8], "class_weights": ["none", "balanced", "sqrt"]}


def test_any_setting_can_be_tuned_and_is_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_stripes(tmp_path / "stripes", train=8, validation=4, test=4))
    settings = NETWORK | {"epochs": 1, "tune": FURTHER}
    summary, trials = tuned(settings, tmp_path, trials=2, epochs=1)
    found = YAML(typ="safe").load(tmp_path / "tuned.yaml")
    assert 0 <= found["label_smoothing"] <= 0.3
    assert found["batch_size"] in range(2, 9)
    assert found["class_weights"] in FURTHER["class_weights"]
    assert f"batch_size {found['batch_size']}" in str(summary)
    assert list(trials.columns) == [
        "number", "state", "value", "learning_rate", "dropout", "decay", *FURTHER, "epochs",
    ]  # fmt: skip
    assert number_columns(trials) == ["learning_rate", "dropout", "decay", "label_smoothing", "batch_size"]
    chosen = stage_of(settings, tmp_path, name="head").tuned().run.settings
    assert {name: getattr(chosen, name) for name in FURTHER} == {name: found[name] for name in FURTHER}
    assert chosen.tune == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimizer": [0.1, 0.5]}, r"tune\.optimizer: float 0\.1: Input should be 'rmsprop', 'adamw' or 'sgd'"),
        ({"label_smoothing": [0.1, 1.5]}, r"tune\.label_smoothing: float 1\.5: Input should be less than 1"),
        ({"label_smoothing": [0.1]}, r"tune\.label_smoothing: expected \[low, high\] or a list of two or more"),
        (
            {"weights": ["a.keras", "b.keras"]},
            r"tune: no setting 'weights' can be tuned; available: epochs, .*, cutmix$",
        ),
        ({"learning_rate": [0.1, 0.2]}, r"tune\.learning_rate: write learning_rate: tune, and its range into"),
        ({"batch_size": [64, 16]}, r"tune\.batch_size: expected \[low, high\] with low below high"),
        ({"views": [1, 4]}, r"tune: no setting 'views' can be tuned; available: epochs, "),
        (
            {"network": ["small_cnn", "mobilenet_v2"], "first_size": [None, 8]},
            r"tune\.first_size: int 8: Value error, first_size: small_cnn takes pictures of one size only",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_tuned_is_refused_with_its_place(given: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_run({"runs": {"x": NETWORK | {"tune": given}}}, "x")


@pytest.mark.parametrize(
    ("settings", "name", "values"),
    [
        (HEAD, "fine_tune", [None, {"layers": 1, "epochs": 1, "learning_rate": 1e-5}]),
        (COLORS, "flip_tta", [False, True]),
        (HEAD | {"task": "regress", "target": "size"}, "target", ["size", "age"]),
        (HEAD | {"task": "multilabel", "targets": ["seen"]}, "targets", [["seen"], ["kind"]]),
    ],
)
def test_what_trials_train_without_cannot_be_tuned(settings: dict[str, Any], name: str, values: list[object]) -> None:
    with pytest.raises(UserError, match=f"tune: no setting '{name}' can be tuned; available: epochs, "):
        read_run({"runs": {"x": settings | {"tune": {name: values}}}}, "x")


def test_settings_that_do_not_go_together_are_refused_before_the_search() -> None:
    tune = {"schedule": ["cosine", "decay"], "warmup": [0.0, 0.2]}
    words = r"tune: schedule 'decay', warmup 0\.2: Value error, warmup: only the schedule cosine has one, got 0\.2"
    with pytest.raises(UserError, match=words):
        read_run({"runs": {"x": NETWORK | {"decay": 0, "schedule": "cosine", "tune": tune}}}, "x")


@pytest.mark.parametrize(("most", "trained"), [(2, 2), (9, 4), (None, 4)])
def test_a_trial_trains_no_longer_than_the_run(most: int | None, trained: int, tmp_path: Path) -> None:
    _, trials = tuned(HEAD | {"dropout": "tune", "epochs": 4}, tmp_path, trials=1, epochs=most)
    assert trials["epochs"].tolist() == [trained]
