"""A new task is one folder and one line: `mean_color`, next to this file, goes through every stage and command.

The package is copied, the folder and the line are added to the copy, and nothing else changes.
"""

import csv
import filecmp
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from checkout import ROOT
from lamina.source_code import PACKAGE
from projects import call, change_params, stages_run, tracked_scores

FOLDER = Path(__file__).parent / "mean_color"
LINE = '        "mean_color": Task(name="mean_color", package="lamina.tasks.mean_color", measure="mse"),\n'
RUN = "means"
SMALL = {
    "source": {"pictures": 60},
    "convert": {"size": 16},
    "augment": {"copies": 1},
    "features": {},
    "ensembles": {},
    "runs": {RUN: {"task": "mean_color", "input": "pixels", "weights": "weights/random", "penalty": "tune"}},
    "tune": {"trials": 2, "penalty": [1e-6, 1e-3]},
    "assess": {"repeats": 1, "folds": 0, "control": True},
}
TOUCHED = {
    "tasks/mean_color/__init__.py",
    "tasks/mean_color/chapter.py",
    "tasks/mean_color/evaluation.py",
    "tasks/mean_color/learning.py",
    "tasks/mean_color/results.py",
    "tasks/mean_color/serving.py",
    "tasks/mean_color/settings.py",
    "tasks/registry.py",
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with a run of the new task: results computed and accepted."""
    system = tmp_path_factory.mktemp("toy")
    package = system / "src" / "lamina"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(FOLDER, package / "tasks" / "mean_color", ignore=shutil.ignore_patterns("__pycache__"))
    registry = package / "tasks" / "registry.py"
    before, last = registry.read_text().rsplit("    }\n", 1)
    registry.write_text(f"{before}{LINE}    }}\n{last}")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, system)
    change_params(system, SMALL, replace=("features", "runs", "ensembles", "assess"))
    (system / "baselines").mkdir()
    (system / "baselines" / "data.json").write_text("{}")
    call(system, "dvc", "init", "--no-scm", "--quiet")
    call(system, "dvc", "repro")
    call(system, "lamina", "gate", "--accept")
    return system


def files(package: Path) -> Iterator[str]:
    for folder, _, names in os.walk(package):
        if "__pycache__" not in folder:
            yield from (Path(folder, name).relative_to(package).as_posix() for name in names)


def results(system: Path, name: str) -> dict:
    return json.loads((system / "models" / RUN / name).read_text())


def test_nothing_but_one_folder_and_one_line_is_new(system: Path) -> None:
    package = system / "src" / "lamina"
    here, there = set(files(PACKAGE)), set(files(package))
    same, _, _ = filecmp.cmpfiles(PACKAGE, package, here, shallow=False)
    assert (here - there) == set()
    assert there - set(same) == TOUCHED
    lines = (package / "tasks" / "registry.py").read_text().splitlines(keepends=True)
    assert [line for line in lines if line != LINE] == (PACKAGE / "tasks" / "registry.py").read_text().splitlines(True)
    assert filecmp.cmp(ROOT / "dvc.yaml", system / "dvc.yaml", shallow=False)


def test_tune_tries_and_keeps_the_best(system: Path) -> None:
    trials = pd.read_csv(system / "models" / RUN / "trials.csv")
    assert list(trials["state"]) == ["COMPLETE"] * 2
    best = trials.loc[trials["value"].idxmin(), "penalty"]
    assert YAML(typ="safe").load(system / "models" / RUN / "tuned.yaml") == {"penalty": pytest.approx(best)}


def test_train_leaves_a_model_and_its_record(system: Path) -> None:
    record = results(system, "record.json")
    assert (record["task"], record["parameters"], record["classes"]) == ("mean_color", 12, [])
    assert record["settings"]["penalty"] == "tune"
    history = pd.read_csv(system / "models" / RUN / "history.csv")
    assert list(history) == ["epoch", "train_loss", "train_mse", "validation_loss", "validation_mse"]
    assert (system / "models" / RUN / "model.keras").stat().st_size > 0


def test_assess_trains_again(system: Path) -> None:
    found = results(system, "assessment.json")
    assert len(found["repeats"]["test"]["values"]) == 1
    assert found["crossvalidation"] is None
    assert found["control"] is None  # there are no labels to shuffle


def test_evaluate_scores_both_folds_and_learned_something(system: Path) -> None:
    metrics = results(system, "metrics.json")
    for fold in ("validation", "test"):
        scores = metrics[fold]
        assert scores["n"] >= scores["origins"] >= 1
        assert 0 <= scores["mse"] < 2  # squared CIELAB units
        if scores["origins"] > 1:
            assert scores["interval"][0] <= scores["mse"] <= scores["interval"][1]
    predictions = pd.read_parquet(system / "models" / RUN / "predictions.parquet")
    assert predictions["mse"].mean() == pytest.approx(metrics["test"]["mse"])


def test_the_report_has_its_chapter(system: Path) -> None:
    page = (system / "reports" / "index.html").read_text()
    assert '<section id="mean-colors"' in page
    assert f'<section id="run-{RUN}"' in page
    assert "Mean colors: test MSE of runs that were trained again" in page


def test_the_gate_accepts_and_compares(system: Path) -> None:
    with (system / "baselines" / f"{RUN}.csv").open() as file:
        assert len(list(csv.DictReader(file))) == results(system, "metrics.json")["test"]["n"]
    assert json.loads((system / "baselines" / "champion.json").read_text())["run"] == RUN
    assert re.search(rf"^{RUN} .* kept$", call(system, "lamina", "gate"), re.M)


def test_mlflow_has_it(system: Path) -> None:
    expected = {RUN: pytest.approx(results(system, "metrics.json")["test"]["mse"])}
    assert tracked_scores(system, "mse") == expected
    assert f"{RUN}  already there" in call(system, "lamina", "track")


def test_editing_it_runs_its_runs_again(system: Path) -> None:
    learning = system / "src" / "lamina" / "tasks" / "mean_color" / "learning.py"
    learning.write_text(learning.read_text() + "\nADDED = 1\n")
    call(system, sys.executable, "-m", "lamina.stages.watch")
    ran = stages_run(call(system, "dvc", "repro", "--dry"))
    assert {f"{stage}@{RUN}" for stage in ("tune", "train", "assess")} <= ran
    assert not ran & {"download", "split", "weights"}
