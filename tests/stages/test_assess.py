"""The stage `assess`: its files, what it says, and an assessment that was interrupted."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lamina.errors import UserError
from lamina.maths.crossvalidation import AgainConfig
from lamina.results.assessment import (
    Assessment,
    Control,
    CrossValidation,
    FoldValue,
    Repeats,
    Spread,
    TargetControl,
    read_assessment,
)
from lamina.results.result_file import read_result
from lamina.stages.assess import AssessSummary, assess_run, read_config
from lamina.stages.run_stage import RunStage
from lamina.tasks.colorize.learning import ColorLearner
from lamina.tuning.numbers import write_numbers
from systems import (
    COLORS,
    HEAD,
    NETWORK,
    params_of,
    stage_of,
    write_origins_of_blots,
    write_origins_with_classes,
)

LEARNING = COLORS | {"epochs": 3, "learning_rate": 4e-3}
PARTS = 2


def prepared(settings: Mapping[str, Any], out: Path, name: str = "run") -> RunStage:
    """Return the stage of a run that is tuned already."""
    stage = stage_of(settings, out, name=name, seed=5)
    write_numbers(out / "tuned.yaml", stage.run.settings.given_numbers())
    return stage


# ---- files


def test_the_same_again_gives_the_same_bytes_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_origins_with_classes(tmp_path, PARTS))
    config = AgainConfig(repeats=1, folds=PARTS, control=True)
    outs = {name: prepared(HEAD | {"epochs": 3}, tmp_path / name) for name in ("one", "other", "resumed")}
    second = tmp_path / "second"
    assess_run(outs["one"], config, validation=0.2, cache=tmp_path / "first")
    assess_run(outs["other"], config, validation=0.2, cache=second)
    min(second.iterdir()).unlink()  # as after a kill: one training is missing
    there = {path: path.stat().st_mtime_ns for path in second.iterdir()}
    summary = assess_run(outs["resumed"], config, validation=0.2, cache=second)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert len(list(second.iterdir())) == len(there) + 1 == 2 + PARTS
    for name in ("assessment.json", "crossvalidation.parquet"):
        written = [(tmp_path / run / name).read_bytes() for run in outs]
        assert written[0] == written[1] == written[2], name
    key = outs["one"].record(outs["one"].open_learner()).key
    assert read_assessment(tmp_path / "one", key) == summary.found
    with pytest.raises(UserError, match=r"one/assessment.json: is of an earlier training; run `dvc repro assess@one`"):
        read_assessment(tmp_path / "one", "the key of another training")


@pytest.fixture(scope="module")
def blots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_origins_of_blots(tmp_path_factory.mktemp("blots"))


@pytest.mark.nightly
def test_an_interrupted_colorizer_ends_with_the_same_bytes(
    blots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(blots)
    config, whole, cut = AgainConfig(repeats=1, folds=PARTS), tmp_path / "whole", tmp_path / "cut"
    assess_run(prepared(LEARNING, whole), config, validation=0.2, cache=whole / "cache")
    assert len(list((whole / "cache").iterdir())) == 1 + PARTS, "no state of a training is left"
    begun: list[int] = []

    def begin(learner: ColorLearner, epoch: int, epochs: int) -> object:
        """Interrupt a training when it begins its second epoch, once."""
        begun.append(epoch)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return learner.train

    monkeypatch.setattr(ColorLearner, "fresh_examples", begin)
    stage, cache = prepared(LEARNING, cut), cut / "cache"
    with pytest.raises(KeyboardInterrupt):
        assess_run(stage, config, validation=0.2, cache=cache)
    [state] = cache.iterdir()
    assert state.suffix == ".npz"
    for path in (whole / "cache").iterdir():
        if path.stem != state.stem:
            shutil.copy2(path, cache)
    assess_run(stage, config, validation=0.2, cache=cache)
    assert begun == [1, 2, 2, 3], "the interrupted training continues, the others are not repeated"
    assert {path.name for path in cache.iterdir()} == {path.name for path in (whole / "cache").iterdir()}
    for name in ("assessment.json", "crossvalidation.parquet", f"cache/{state.stem}.parquet"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


# ---- what it says


SPREAD = Spread(values=[0.8, 0.9], mean=0.85, deviation=0.0707)
CROSSED = CrossValidation(scores={"accuracy": 0.8125}, folds=[FoldValue(value=0.8, n=10), FoldValue(value=0.825, n=10)])
SOUND = Control(accuracy=0.3, chance=0.33, interval=(0.2, 0.5), p=0.6, passed=True, n=20)


def test_the_summary_names_what_was_found() -> None:
    found = Assessment(
        repeats=Repeats(seeds=[2, 3], test=SPREAD, validation=SPREAD), crossvalidation=CROSSED, control=SOUND
    )
    summary = AssessSummary(found=found, measure="accuracy")
    assert str(summary) == (
        "trained again, 2 with other seeds: test accuracy 0.85 +- 0.0707; 2-fold: accuracy 0.812; "
        "shuffled labels: 0.300, by chance 0.330"
    )
    assert summary.warnings == []
    single = Spread(values=[12.5], mean=12.5, deviation=None)
    one = Assessment(repeats=Repeats(seeds=[2], test=single, validation=single))
    assert str(AssessSummary(found=one, measure="mse")) == "trained again, 1 with other seeds: test mse 12.5"
    assert str(AssessSummary(found=Assessment(), measure="mse")) == "nothing trained again"


def test_reasons_to_doubt_the_scores_are_warnings() -> None:
    leak = SOUND.model_copy(update={"accuracy": 0.9, "p": 0.0001, "passed": False})
    crossed = CROSSED.model_copy(update={"starts_from_file": True})
    summary = AssessSummary(found=Assessment(crossvalidation=crossed, control=leak), measure="accuracy")
    assert len(summary.warnings) == 2
    assert "no score of this run can be trusted" in summary.warnings[0]
    assert "tests what the weights have seen" in summary.warnings[1]


def test_the_control_of_targets_names_its_measure() -> None:
    found = TargetControl(measure="mae", value=5.25, chance=12.5, interval=(11, 14), p=0.0001, passed=False, n=20)
    summary = AssessSummary(found=Assessment(control=found), measure="mae")
    assert str(summary) == "trained again, shuffled targets: 5.25, by chance 12.5"
    [line] = summary.warnings
    assert line.startswith("shuffled targets were predicted with mae 5.25, where chance is 12.5 (p = 0.0001): ")
    assert line.endswith("look at the leak audit in the report, then at source.origin")


def test_either_control_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A file of a classifier keeps the keys that it always had."""
    of_targets = TargetControl(measure="f1", value=0.2, chance=0.2, interval=(0.1, 0.3), p=0.5, passed=True, n=20)
    for name, control in {"labels": SOUND, "targets": of_targets}.items():
        path = tmp_path / f"{name}.json"
        Assessment(control=control).write(path)
        assert read_result(path, Assessment, "assess").control == control
    keys = ["accuracy", "chance", "interval", "n", "p", "passed"]
    assert sorted(json.loads((tmp_path / "labels.json").read_text())["control"]) == keys


# ---- section `assess`


def test_a_run_or_a_task_may_have_its_own_values() -> None:
    general, own = AgainConfig(repeats=2, folds=5, control=True), AgainConfig(folds=3)
    section = {"repeats": 2, "folds": 5, "control": True}
    assert AgainConfig.model_validate(read_config({"assess": section}).of("colors", "colorize").model_dump()) == general
    config = read_config({"assess": section | {"colorize": {"folds": 3}}})
    assert config.of("colors", "colorize") == own
    assert (config.of("head", "classify").repeats, config.of("head", "classify").folds) == (2, 5)
    assert read_config({}).of("head", "classify").repeats == 0
    both = section | {"colorize": {"folds": 3}, "colors": {"repeats": 1}}
    of_run = read_config({"assess": both, "runs": {"colors": {}, "vivid": {}}})
    assert of_run.of("colors", "colorize") == AgainConfig(repeats=1)
    assert of_run.of("vivid", "colorize") == own


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"colorize": {"folds": 1}}, r"assess\.colorize\.folds: expected 0, for no cross-validation, or 2 and more"),
        ({"colorize": {"fold": 2}}, r"unknown key 'assess\.colorize\.fold'; did you mean 'assess\.colorize\.folds'"),
        ({"folds": 1}, r"assess\.folds: expected 0"),
        ({"repeats": -1}, r"assess\.repeats: .*greater than or equal to 0"),
        ({"colours": {"folds": 2}}, r"assess: unknown key 'colours'; known: repeats, folds, control, classify, color"),
        ({"repeat": 2}, r"unknown key 'assess\.repeat'; did you mean 'assess\.repeats'\?"),
    ],
    ids=str,
)
def test_bad_values_are_refused_with_their_place(section: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_config({"assess": section})
    assert "\n" not in str(caught.value)


NOTHING = [{}, {"assess": {"repeats": 0, "folds": 0, "control": False}}]
FOR_OTHERS = [{}, {"assess": {"repeats": 3, "folds": 5, "control": True, "colorize": {"repeats": 0, "folds": 0}}}]


@pytest.mark.parametrize(
    ("settings", "section"), [*((HEAD, one) for one in NOTHING), *((COLORS, one) for one in FOR_OTHERS)], ids=str
)
def test_nothing_is_loaded_where_nothing_is_asked_for(
    settings: dict[str, Any], section: dict[str, Any], tmp_path: Path
) -> None:
    params = params_of({"run": settings, "cnn": NETWORK}, split={"test": 0.3, "validation": 0.2}, **section)
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    write_numbers(tmp_path / "models/run/tuned.yaml", stage_of(settings).run.settings.given_numbers())
    code = "import sys; sys.argv = ['assess', 'run']; from lamina.stages.assess import main; main(); "
    code += "sys.exit(3 if {'tensorflow', 'keras', 'jax'} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "run: nothing trained again\n"), done.stderr
    written = (tmp_path / "models/run/assessment.json").read_text()
    assert written == '{\n  "control": null,\n  "crossvalidation": null,\n  "key": null,\n  "repeats": null\n}\n'
    assert len(pd.read_parquet(tmp_path / "models/run/crossvalidation.parquet")) == 0
