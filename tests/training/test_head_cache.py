"""The cache of heads: a longer run continues where a shorter one with the same settings ended."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lamina.tasks.classify.learning import ClassHeadLearner
from lamina.training.checkpoint import HeadCache
from lamina.training.heads import Head
from lamina.training.history import EpochRow
from lamina.training.learner import Learned, TrainingOptions
from lamina.training.settings import GradientNumbers
from systems import HEAD, learner_of, write_classes_as_features

STILL = GradientNumbers(learning_rate=1e-3, dropout=0.0, decay=0.01)
DROPPING = GradientNumbers(learning_rate=1e-3, dropout=0.4, decay=0.001)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes_as_features(tmp_path_factory.mktemp("system"))


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def opened(**options: object) -> ClassHeadLearner:
    learner = learner_of(HEAD | options, seed=5)
    assert isinstance(learner, ClassHeadLearner)
    return learner


def weights_of(learned: Learned) -> list[np.ndarray]:
    return [array for name in ("hidden", "classes") for array in learned.network.get_layer(name).get_weights()]


def saved(folder: Path, name: str = "head") -> HeadCache:
    return HeadCache(name=name, folder=folder)


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, {"patience": 3}, {"patience": 3, "ema_decay": 0.9}])
def test_a_longer_run_continues_where_a_shorter_one_ended(options: dict[str, object], tmp_path: Path) -> None:
    whole, rows = opened(**options).learn(DROPPING, TrainingOptions(epochs=7)), []
    opened(**options).learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path, "shorter")))
    more = TrainingOptions(epochs=7, head_cache=saved(tmp_path, "longer"), on_epoch=rows.append)
    learned = opened(**options).learn(DROPPING, more)
    assert learned.history == rows == whole.history
    for one, other in zip(weights_of(learned), weights_of(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name.partition("@")[0] for path in tmp_path.iterdir()) == ["longer", "shorter"]


def test_the_epochs_of_a_shorter_run_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened().learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path, "shorter")))
    calls, whole = [], Head.train_epoch
    monkeypatch.setattr(Head, "train_epoch", lambda head, what="train": calls.append(1) or whole(head, what))
    opened().learn(DROPPING, TrainingOptions(epochs=5, head_cache=saved(tmp_path)))
    assert len(calls) == 2
    assert capsys.readouterr().err.splitlines()[0] == "head: the first 3 of 5 epochs are taken over from shorter"
    opened().learn(DROPPING, TrainingOptions(epochs=5, head_cache=saved(tmp_path)))
    assert len(calls) == 2 + 2, "as many epochs are taken from the shorter run, not from itself"


@pytest.mark.parametrize(
    ("options", "numbers", "seed"),
    [({"batch_size": 9}, DROPPING, 5), ({"label_smoothing": 0.1}, DROPPING, 5), ({}, STILL, 5), ({}, DROPPING, 6)],
)
def test_the_state_of_another_run_is_not_used(
    options: dict[str, object], numbers: GradientNumbers, seed: int, tmp_path: Path
) -> None:
    opened().learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path, "shorter")))
    learner = dataclasses.replace(opened(**options), seed=seed)
    learned = learner.learn(numbers, TrainingOptions(epochs=4, head_cache=saved(tmp_path)))
    assert learned.history == learner.learn(numbers, TrainingOptions(epochs=4)).history
    assert len({path.name.partition("@")[2] for path in tmp_path.iterdir()}) == 2


def test_an_interrupted_head_continues(tmp_path: Path) -> None:
    def interrupt(row: EpochRow) -> None:
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened().learn(DROPPING, TrainingOptions(epochs=7, head_cache=saved(tmp_path), on_epoch=interrupt))
    state = HeadCache(name="head", folder=tmp_path).load(opened()._key(DROPPING), 7)
    assert state is not None
    assert len(state.history) == 4
    resumed = opened().learn(DROPPING, TrainingOptions(epochs=7, head_cache=saved(tmp_path)))
    assert resumed.history == opened().learn(DROPPING, TrainingOptions(epochs=7)).history


def test_a_broken_state_is_ignored(tmp_path: Path) -> None:
    opened().learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path)))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    learned = opened().learn(DROPPING, TrainingOptions(epochs=4, head_cache=saved(tmp_path)))
    assert learned.history == opened().learn(DROPPING, TrainingOptions(epochs=4)).history
    assert len(list(tmp_path.iterdir())) == 1
