"""Heads over features: they learn as Keras would have them learn, without TensorFlow."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from joblib import cpu_count

from lamina.maths.class_weights import class_weights
from lamina.tasks.classify.learning import ClassHeadLearner
from lamina.training import head_steps
from lamina.training.head_steps import top_logits
from lamina.training.heads import Head, train_head
from lamina.training.history import DivergedError, EpochRow
from lamina.training.learner import Learned, TrainingOptions
from lamina.training.settings import GradientNumbers
from systems import HEAD, TUNE, learner_of, params_of, write_classes_as_features

TRAIN, WIDTH, CLASSES = 85, 24, 3
STILL = GradientNumbers(learning_rate=1e-3, dropout=0.0, decay=0.01)
DROPPING = GradientNumbers(learning_rate=1e-3, dropout=0.4, decay=0.001)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes_as_features(tmp_path_factory.mktemp("system"), train=TRAIN)


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def opened(**options: object) -> ClassHeadLearner:
    learner = learner_of(HEAD | {"epochs": 3} | options, seed=5)
    assert isinstance(learner, ClassHeadLearner)
    return learner


def weights_of(learned: Learned) -> list[np.ndarray]:
    return [array for name in ("hidden", "classes") for array in learned.network.get_layer(name).get_weights()]


def by_keras(learner: ClassHeadLearner, epochs: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights, and their averages, of a Keras head that takes the same steps with Keras' own optimiser and loss."""
    from lamina.models.keras_runtime import keras

    network = learner.learned(learner.head(STILL)).network
    schedule = keras.optimizers.schedules.InverseTimeDecay(STILL.learning_rate, 1, STILL.decay)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=learner.settings.label_smoothing)
    network.compile(keras.optimizers.RMSprop(schedule), loss)
    factors = class_weights(learner.train.labels, CLASSES, learner.settings.class_weights)
    inputs, labels = learner.train.features.astype(np.float32), learner.train.labels
    averages, steps = [weight.copy() for weight in trained(network)], 0
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng([learner.seed, epoch]).permutation(len(labels))
        for rows in np.split(order, range(8, len(order), 8)):
            network.train_on_batch(inputs[rows], np.eye(CLASSES)[labels[rows]], sample_weight=factors[labels[rows]])
            steps += 1
            decay = min(learner.settings.ema_decay, (1 + steps) / (10 + steps))
            pairs = zip(averages, trained(network), strict=True)
            averages = [decay * average + (1 - decay) * weight for average, weight in pairs]
    return trained(network), averages


def trained(network: object) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in network.trainable_weights]  # type: ignore[attr-defined]


OPTIONS = [
    {},
    {"class_weights": "balanced"},
    {"class_weights": "sqrt"},
    {"label_smoothing": 0.2},
    {"class_weights": "balanced", "label_smoothing": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_head_takes_the_same_steps_as_keras(options: dict[str, object]) -> None:
    learner = opened(**options)
    expected, _ = by_keras(learner, epochs=3)
    before = weights_of(learner.learned(learner.head(STILL)))
    found = weights_of(learner.learn(STILL))
    assert max(np.abs(new - old).max() for new, old in zip(found, before, strict=True)) > 0.01
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_moving_averages_follow_the_weights() -> None:
    learner = opened(ema_decay=0.9)
    last, expected = by_keras(learner, epochs=3)
    found = weights_of(learner.learn(STILL))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert np.abs(found[0] - last[0]).max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, {"patience": 2, "epochs": 30}], ids=str)
def test_the_history_describes_the_kept_network(options: dict[str, object]) -> None:
    learner = opened(**options)
    learned = learner.learn(DROPPING)
    row = min(learned.history, key=lambda row: row["validation_loss"]) if "patience" in options else learned.history[-1]
    found = learned.network.predict(learner.validation.features.astype(np.float32), verbose=0)
    labels = learner.validation.labels
    assert row["validation_loss"] == pytest.approx(-np.log(found[np.arange(len(labels)), labels]).mean(), abs=1e-4)
    assert row["validation_accuracy"] == pytest.approx((found.argmax(axis=1) == labels).mean(), abs=1e-6)


def test_training_stops_after_patience_epochs_without_improvement() -> None:
    history = opened(patience=3, epochs=60).learn(GradientNumbers(learning_rate=1e-2, dropout=0.0, decay=0.0)).history
    losses = [row["validation_loss"] for row in history]
    assert len(losses) < 60
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert losses == [
        row["validation_loss"]
        for row in opened(epochs=60)
        .learn(GradientNumbers(learning_rate=1e-2, dropout=0.0, decay=0.0), TrainingOptions(epochs=len(losses)))
        .history
    ]


def test_options_that_are_off_change_nothing() -> None:
    plain = opened().learn(DROPPING)
    off = opened(patience=None, class_weights="none", label_smoothing=0, ema_decay=0).learn(DROPPING)
    assert plain.history == off.history


def test_batches_of_one_row_and_of_all_rows_learn() -> None:
    for size in (1, TRAIN, 10 * TRAIN):
        history = opened(batch_size=size).learn(DROPPING, TrainingOptions(epochs=10)).history
        assert history[-1]["train_loss"] < history[0]["train_loss"]
        assert history[-1]["learning_rate"] == pytest.approx(1e-3 / (1 + 0.001 * 10 * -(-TRAIN // min(size, TRAIN))))


def test_dropout_keeps_the_expected_share_and_differs_by_epoch() -> None:
    head = opened().head(DROPPING)
    first, second = (head._dropout(epoch, (50, 8)) for epoch in (1, 2))
    assert first.shape == (50, 8, 256)
    assert first.mean() == pytest.approx(1 - DROPPING.dropout, abs=4 * np.sqrt(0.24 / first.size))
    assert (first == second).mean() == pytest.approx(0.6**2 + 0.4**2, abs=0.01)
    assert opened().head(STILL)._dropout(1, (2, 8)).all()


def test_dropout_does_not_change_the_mean_output() -> None:
    weights, inputs = opened().head(STILL).kept, np.random.default_rng(0).normal(size=(1, WIDTH)).astype(np.float32)
    kept = opened().head(DROPPING)._dropout(1, (2000, 8)).reshape(-1, 256)
    product = inputs @ weights.hidden
    dropped = top_logits(np.repeat(product, len(kept), axis=0), *weights[1:], kept=kept, dropout=DROPPING.dropout)
    answers = np.asarray(dropped)
    error = answers.std(axis=0) / np.sqrt(len(answers))
    assert (np.abs(answers.mean(axis=0) - np.asarray(top_logits(product, *weights[1:]))[0]) < 4 * error).all()


def test_dropout_increases_the_training_loss() -> None:
    learner = opened()
    still, dropping = learner.learn(STILL).history, learner.learn(STILL.model_copy(update={"dropout": 0.4})).history
    assert still[-1]["train_loss"] < dropping[-1]["train_loss"]


def test_training_depends_on_the_seed_alone() -> None:
    learner = opened()
    one, two = learner.learn(DROPPING), learner.learn(DROPPING)
    assert one.history == two.history
    for weight, other in zip(weights_of(one), weights_of(two), strict=True):
        np.testing.assert_array_equal(weight, other)
    assert dataclasses.replace(learner, seed=6).learn(DROPPING).history != one.history


def poison(head: Head) -> None:
    head.train = head.train._replace(features=head.train.features * np.float16("nan"))


def test_an_infinite_loss_ends_training_and_keeps_the_last_good_weights() -> None:
    head = opened().head(DROPPING)
    train_head(head, epochs=2)
    good = head.kept
    poison(head)
    with pytest.raises(DivergedError, match=r"^smears: the loss is not finite in epoch 3; lower learning_"):
        train_head(head, epochs=4, what="smears")
    assert head.kept is good
    assert len(head.history) == 2


def test_the_error_of_a_learner_holds_the_kept_head() -> None:
    learner = opened()
    vars(learner)["moments"] = (np.full(WIDTH, np.nan, np.float32), learner.moments[1])
    with pytest.raises(DivergedError, match="in epoch 1") as caught:
        learner.learn(DROPPING)
    assert isinstance(caught.value.kept, Learned)
    assert caught.value.kept.history == []
    assert np.isfinite(weights_of(caught.value.kept)[0]).all()


def test_a_callback_may_end_training() -> None:
    def on_epoch(row: EpochRow) -> None:
        if row["epoch"] == 2:
            raise StopIteration("pruned")

    with pytest.raises(StopIteration, match="pruned"):
        opened().learn(DROPPING, TrainingOptions(on_epoch=on_epoch))


SEARCH = """
import sys
from lamina.config import section
from lamina.stages.run_stage import open_run_stage
from lamina.stages.tune import tune
from lamina.tuning.search import TuneConfig
stage = open_run_stage("head")
print(tune(stage, section(stage.params, "tune", TuneConfig)))
assert "tensorflow" not in sys.modules, "tuning a head imported TensorFlow"
"""


def test_tuning_a_head_needs_no_tensorflow(tmp_path: Path) -> None:
    write_classes_as_features(tmp_path)
    params = params_of({"head": HEAD | {"learning_rate": "tune"}}, tune=TUNE | {"trials": 2})
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    done = subprocess.run([sys.executable, "-c", SEARCH], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "best of 2 trials" in done.stdout


# ---- wide heads: last, since what JAX has compiled for the others is of no use to them


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Heads are divided as wide ones are: among the cores, in tiles of five rows and a rest."""
    monkeypatch.setattr(head_steps, "WIDE", WIDTH)
    monkeypatch.setattr(head_steps, "ROWS_OF_A_PART", 8)
    monkeypatch.setattr(head_steps, "ROWS_OF_A_TILE", 5)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("wide")
def test_a_wide_head_takes_the_same_steps_as_keras() -> None:
    learner = opened(class_weights="balanced", label_smoothing=0.1)
    expected, _ = by_keras(learner, epochs=3)
    head = learner.head(STILL)
    train_head(head, epochs=3)
    assert len(head.train.features.sharding.device_set) == min(3, cpu_count())
    for one, other in zip(weights_of(learner.learned(head)), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.nightly
@pytest.mark.usefixtures("wide")
def test_moving_averages_of_a_wide_head_follow_its_weights() -> None:
    test_moving_averages_follow_the_weights()
