"""The negative control of runs that learn labels or numbers: trained with targets shuffled between origins."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lamina.data.rows import Folders
from lamina.inputs.index import read_split, write_index
from lamina.inputs.targets import read_targets, write_targets
from lamina.maths.crossvalidation import AgainConfig
from lamina.results.assessment import Assessment, TargetControl
from lamina.results.repeats import Retrainer, assess
from lamina.stages.assess import assess_run
from lamina.training.learner import Learner, Setup
from lamina.tuning.numbers import write_numbers
from nightly import by_time
from systems import HEAD, LABELS, LEVEL, folders_of, hex_ids, retrainer_of, stage_of, write_features
from texts import DENSE, LOGISTIC, opinions, words_system

ORIGINS, EACH = 48, 4
TRAINING = HEAD | {"epochs": 15, "batch_size": 16, "learning_rate": 1e-2, "dropout": 0.0, "decay": 0.0}
RUNS = {"multilabel": TRAINING | LABELS, "regress": TRAINING | LEVEL}


def write_system(system: Path, *, leaky: bool = False) -> Path:
    """Write a system without pictures whose features hold its targets; leaky: its origin, which lies in all folds.

    Every example of an origin has a number and, mostly, a label set of its own.
    """
    random, count = np.random.default_rng(0), ORIGINS * EACH
    base = np.repeat(random.normal(size=(ORIGINS, 3)), EACH, axis=0) * 2 + random.normal(size=(count, 3))
    flags = base > 0
    number, place = np.arange(count) // EACH, np.arange(count) % EACH
    by_origin = np.repeat(["train", "validation", "test"], [24, 8, 16])[number]
    fold = np.array(["train", "train", "validation", "test"])[place] if leaky else by_origin
    ids, folders = hex_ids(count), folders_of(system)
    rows = {"id": ids, "origin": [f"slide {one}" for one in number], "label": None, "copy": 0, "fold": fold}
    folders.split.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folders.split / "manifest.parquet")
    write_index(folders.pixels, "no pictures", 8)
    write_features(system, "small", np.eye(ORIGINS)[number] if leaky else base)
    seen = ["|".join(name for name, has in zip("abc", row, strict=True) if has) or "-" for row in flags]
    cells = pd.DataFrame({"id": ids, "seen": seen, "level": (1000 + 10 * base[:, 0]).astype(str), "more": "kept"})
    cells.loc[0, ["seen", "level"]] = None
    folders.targets.mkdir(parents=True)
    write_targets(folders.targets, cells, ids, {"multilabel": True, "regress": True})
    return system


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_system(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_system(tmp_path_factory.mktemp("leaky"), leaky=True)


def controlled(settings: Mapping[str, Any], cache: Path, **changes: Any) -> Retrainer:
    return retrainer_of(stage_of(settings), cache, **changes)


def control_of(retrainer: Retrainer) -> TargetControl:
    found, _ = assess(retrainer, AgainConfig(control=True), validation=0.2, split_seed=1)
    assert isinstance(found.control, TargetControl)
    return found.control


@pytest.mark.parametrize("task", by_time(RUNS, ["multilabel"]))
def test_a_sound_run_learns_nothing_from_shuffled_targets(
    task: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sound)
    retrainer = controlled(RUNS[task], tmp_path)
    learned = retrainer.judged("as it is", retrainer.setup)
    true = retrainer.value(learned[learned["fold"] == "test"])
    control = control_of(retrainer)
    assert control.passed
    assert (control.measure, control.n) == (retrainer.measure, 64)
    assert control.interval[0] < control.chance < control.interval[1]
    better = true > control.interval[1] if task == "multilabel" else true < control.interval[0]
    assert better, "with its true targets it is better than chance"
    assert len(list(tmp_path.iterdir())) == 2, "the judged rows of two trainings, and no table of targets"


@pytest.mark.parametrize("task", by_time(RUNS, ["multilabel"]))
def test_origins_that_train_and_test_are_found(
    task: str, leaky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(leaky)
    control = control_of(controlled(RUNS[task], tmp_path))
    assert not control.passed
    assert control.p <= 0.001
    low, high = control.interval
    assert control.value > high if task == "multilabel" else control.value < low


@pytest.mark.parametrize("task", RUNS)
def test_all_folds_have_the_shuffled_targets(
    task: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sound)
    opened: list[Any] = []
    stage = stage_of(RUNS[task] | {"epochs": 1})

    def open_learner(setup: Setup) -> Learner:
        opened.append(stage.run.task.open_learner(setup))
        return opened[-1]

    control = control_of(controlled(RUNS[task] | {"epochs": 1}, tmp_path, open_learner=open_learner))
    own, shuffled = opened
    assert own.digest != shuffled.digest
    assert sorted(own.truth.index) == sorted(shuffled.truth.index), "the example without an answer has none"
    for fold in ("train", "validation", "test"):
        before, after = (learner.labels(learner.rows(fold)) for learner in (own, shuffled))
        assert (before != after).any(axis=1).mean() > 0.5
        assert {*map(tuple, after)} <= {*map(tuple, before)}
    [path] = tmp_path.iterdir()
    test = pd.read_parquet(path).query("fold == 'test'").set_index("id")
    column = {"multilabel": "labels", "regress": "target"}[task]
    expected = shuffled.truth.loc[test.index]
    if task == "regress":
        assert (test[column] == expected.iloc[:, 0]).all()
        pairs = np.abs(test["target"].to_numpy()[:, None] - test["predicted"].to_numpy())
        assert control.chance == pytest.approx(pairs.mean(), rel=0.01), "the numbers of the test fold, in any order"
    else:
        assert [set(filter(None, cell.split("|"))) for cell in test[column]] == [
            {name for name, has in row.items() if has} for _, row in expected.iterrows()
        ]
    assert len(shuffled.rows("test")) == len(test)


def test_the_order_of_the_rows_does_not_matter(leaky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where an origin lies in several folds."""
    monkeypatch.chdir(leaky)
    truths = []

    def open_learner(setup: Setup) -> Learner:
        learner: Any = stage_of(RUNS["regress"]).run.task.open_learner(setup)
        truths.append(learner.truth.sort_index())
        return learner

    retrainer = controlled(RUNS["regress"] | {"epochs": 1}, tmp_path / "one", open_learner=open_learner)
    control_of(retrainer)
    folders = dataclasses.replace(Folders(), targets=tmp_path / "targets")
    folders.targets.mkdir()
    cells = read_targets(Folders(), "regress").sample(frac=1, random_state=1).reset_index()
    cells.to_parquet(folders.targets / "regress.parquet", index=False)
    mixed = dataclasses.replace(
        retrainer.setup, manifest=read_split(Folders()).sample(frac=1, random_state=2), folders=folders
    )
    control_of(dataclasses.replace(retrainer, setup=mixed, cache=tmp_path / "two"))
    pd.testing.assert_frame_equal(truths[0], truths[2])
    pd.testing.assert_frame_equal(truths[1], truths[3])
    assert not truths[0].equals(truths[1])


def test_a_second_assessment_trains_nothing(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sound)
    stage = stage_of(RUNS["regress"] | {"epochs": 1}, tmp_path / "run")
    stage.out.mkdir()
    write_numbers(stage.out / "tuned.yaml", stage.run.settings.given_numbers())
    config, cache = AgainConfig(control=True), tmp_path / "cache"
    first = assess_run(stage, config, validation=0.2, cache=cache)
    [path] = cache.iterdir()
    before, written = path.stat().st_mtime_ns, (stage.out / "assessment.json").read_bytes()
    assert assess_run(stage, config, validation=0.2, cache=cache).found == first.found
    assert path.stat().st_mtime_ns == before
    assert (stage.out / "assessment.json").read_bytes() == written
    assert Assessment.model_validate_json(written) == first.found


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(LOGISTIC | {"task": "multilabel", "targets": ["good", "plain"]}, marks=pytest.mark.nightly),
        DENSE | {"task": "regress", "target": "stars", "epochs": 3},
    ],
    ids=["labels", "number"],
)
def test_texts_have_the_control_too(
    settings: dict[str, Any], texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(texts)
    control = control_of(controlled(settings, tmp_path))
    assert control.passed
    assert control.interval[0] <= control.value <= control.interval[1]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of two opinions, with two columns of labels and one of numbers."""
    system = words_system(tmp_path_factory.mktemp("texts"), opinions(30, ("neg", "pos")))
    rows, folders = read_split(folders_of(system)), folders_of(system)
    good = rows["label"] == "pos"
    table = rows[["id"]].assign(good=good.astype(int).astype(str), plain=(~good).astype(int).astype(str))
    folders.targets.mkdir()
    for task in ("multilabel", "regress"):
        table.assign(stars=good.map({True: "5", False: "1"})).to_parquet(folders.targets / f"{task}.parquet")
    return system
