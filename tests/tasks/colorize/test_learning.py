"""What runs that colorize learn, without labels."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from lamina.data.depth import Depth
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.inputs.index import read_split
from lamina.inputs.lightness import lightness
from lamina.tasks.colorize.learning import ColorLearner, open_learner
from lamina.training.learner import DEFAULT_OPTIONS, Setup
from lamina.training.settings import GradientNumbers
from systems import AUGMENT, COLORS, learner_of, stage_of, write_blots

SIDE = 16
RUN = COLORS | {"epochs": 6}
GIVEN = GradientNumbers(learning_rate=2e-3, dropout=0.0, decay=0.001)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blots(tmp_path_factory.mktemp("system"), side=SIDE)


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def opened(**changes: object) -> ColorLearner:
    learner = learner_of(RUN | changes, augment=AUGMENT | {"color": 0.9})
    assert isinstance(learner, ColorLearner)
    return learner


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "rebalanced"},
        pytest.param({"decoder": "conv", "augmentation": "fresh"}, marks=pytest.mark.nightly),
        pytest.param({"decoder": "dense", "precision": "bfloat16"}, marks=pytest.mark.nightly),
    ],
    ids=str,
)
def test_every_loss_and_decoder_learns(changes: dict[str, object]) -> None:
    learner = opened(**changes)
    history = learner.learn(GIVEN).history
    rows = learner.validation.rows
    true = rows.read_lab(np.arange(len(rows)))[..., 1:] / 100
    assert history[-1]["validation_mse"] < 0.85 * ((true - learner.mean_color) ** 2).mean()
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]


def test_a_residual_encoder_starts_with_plausible_outputs() -> None:
    learner = opened(encoder="resnet20")
    light = lightness(learner.train.rows.read_lab(np.arange(16)))
    numbers = learner.build(GIVEN)(light, training=True)
    assert 0.1 < np.sqrt(np.square(numbers).mean()) < 0.5


def test_the_mean_color_is_that_of_the_training_originals() -> None:
    split = read_split(Folders())
    rows = open_rows(split[(split["fold"] == "train") & (split["copy"] == 0)], Folders())
    expected = rows.read_lab(np.arange(len(rows)))[..., 1:].mean(axis=(0, 1, 2)) / 100
    learner = opened()
    np.testing.assert_allclose(learner.mean_color, expected, atol=1e-6)
    assert learner.facts == {"mean_color": [round(float(value), 4) for value in expected]}
    assert (learner.classes, learner.tests_labels) == ([], False)


def test_the_record_keeps_the_depth_that_pictures_were_read_as(tmp_path: Path) -> None:
    folders = dataclasses.replace(Folders(), lab=shutil.copytree(Folders().lab, tmp_path / "lab"))
    Depth(pictures=3, largest=4000, bits=12).write(folders.lab)
    learner = open_learner(dataclasses.replace(stage_of(RUN).setup, folders=folders))
    assert learner.facts["depth"] == 12


def test_rows_are_judged_next_to_both_baselines() -> None:
    learner = opened(epochs=1)
    learned = learner.learn_again(GIVEN, DEFAULT_OPTIONS)
    judged = learner.judge(learned, "test")
    rows = learner.examples("test").rows
    true = rows.read_lab(np.arange(len(rows)))[..., 1:] / np.float32(100)
    np.testing.assert_allclose(judged["grey_mse"], (true**2).mean(axis=(1, 2, 3)), rtol=1e-4)
    mean = ((true - learner.mean_color.astype(np.float32)) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(judged["mean_mse"], mean, rtol=1e-4)
    scores = learner.summarise(judged.assign(origin=[str(number) for number in range(len(judged))]))
    assert scores["mse"] == pytest.approx(judged["mse"].mean())
    assert scores["interval"][0] < scores["mse"] < scores["interval"][1]


def test_the_content_of_weights_decides_the_digest(tmp_path: Path) -> None:
    weights, digests = tmp_path / "model.keras", set()
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        digests |= {opened(weights=str(weights)).digest for _ in range(2)}
    assert len(digests) == 2


def test_a_fold_without_pictures_is_named() -> None:
    split = read_split(Folders())

    def without(fold: str) -> Setup:
        return dataclasses.replace(stage_of(RUN).setup, manifest=split[split["fold"] != fold])

    with pytest.raises(UserError, match=r"no picture in the fold train; add pictures, or look at split and filter"):
        open_learner(without("train"))
    with pytest.raises(UserError, match=r"no picture in the fold validation"):
        open_learner(without("validation")).validation  # noqa: B018
