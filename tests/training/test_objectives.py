"""Heads that learn labels and numbers take the same steps as Keras with the losses of their trainers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.data.rows import Folders
from lamina.inputs.index import read_split
from lamina.tasks.output_learner import HeadLearner
from lamina.training.settings import GradientNumbers
from systems import HEAD, LABELS, LEVEL, learner_of, write_classes_as_features, write_target_table

STILL = GradientNumbers(learning_rate=1e-3, dropout=0.0, decay=0.01)
RUNS = {"labels": HEAD | LABELS, "number": HEAD | LEVEL}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features that say in part which labels a row has, and a number in a unit of its own."""
    folder = write_classes_as_features(tmp_path_factory.mktemp("system"))
    random = np.random.default_rng(1)
    labels = read_split(Folders(split=folder / "data/split"))["label"]
    seen = labels.map({"a": "a", "b": "a|b", "c": "-"}).tolist()
    level = 500 + 40 * labels.map({"a": 0, "b": 1, "c": 3}).to_numpy() + random.normal(0, 5, len(labels))
    for task in ("multilabel", "regress"):
        write_target_table(folder, task, {"seen": seen, "level": level})
    return folder


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def opened(output: str, **changes: Any) -> HeadLearner:
    learner = learner_of(RUNS[output] | {"epochs": 3} | changes, seed=5)
    assert isinstance(learner, HeadLearner)
    return learner


def weights_of(network: Any) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in network.trainable_weights]


@pytest.mark.parametrize("output", RUNS)
def test_a_head_takes_the_same_steps_as_its_trainer_in_keras(output: str) -> None:
    from lamina.models.keras_runtime import keras, tf

    learner = opened(output)
    network = learner.learned(learner.head(STILL)).network
    trainer: Any = learner.trainer(network, STILL, learner.recipe, steps=1)
    before = weights_of(network)
    schedule = keras.optimizers.schedules.InverseTimeDecay(STILL.learning_rate, 1, STILL.decay)
    optimizer = keras.optimizers.RMSprop(schedule)
    inputs, labels = learner.train.features.astype(np.float32), learner.train.labels
    for epoch in range(1, 4):
        order = np.random.default_rng([learner.seed, epoch]).permutation(len(labels))
        for rows in np.split(order, range(8, len(order), 8)):
            with tf.GradientTape() as tape:
                losses, _ = trainer._losses(network(inputs[rows], training=True), tf.constant(labels[rows]))
                loss = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(loss, network.trainable_weights), network.trainable_weights)
    found = weights_of(learner.learn(STILL).network)
    assert max(np.abs(new - old).max() for new, old in zip(found, before, strict=True)) > 0.01
    for one, other in zip(found, weights_of(network), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("output", RUNS)
def test_the_history_and_the_predictions_are_those_of_the_trainer(output: str) -> None:
    learner = opened(output, epochs=8)
    learned = learner.learn(GradientNumbers(learning_rate=1e-3, dropout=0.4, decay=0.001))
    outputs = learned.network(learner.validation.features.astype(np.float32))
    trainer: Any = learner.trainer(learned.network, STILL, learner.recipe, steps=1)
    losses, measured = trainer._losses(outputs, learner.validation.labels)
    row = learned.history[-1]
    assert row["validation_loss"] == pytest.approx(float(np.mean(losses)), rel=1e-4)
    assert row[f"validation_{trainer.measure}"] == pytest.approx(float(np.mean(measured)), rel=1e-4)
    assert row[f"train_{trainer.measure}"] != learned.history[0][f"train_{trainer.measure}"]
    predicted = learned.predict(learner.validation)
    if output == "labels":
        np.testing.assert_allclose(predicted, outputs, atol=1e-5)
    else:
        assert np.abs(predicted - learner.validation.labels).mean() == pytest.approx(row["validation_mae"], rel=1e-4)
        assert row["validation_mae"] < 0.8 * np.abs(learner.validation.labels - learner.train.labels.mean()).mean()


def test_the_measure_of_labels_is_one_where_there_is_none_and_none_is_given() -> None:
    from lamina.training.objectives import LabelObjective

    logits = np.array([[2.0, -1], [-1, -1], [-1, 3], [-1, -2]], np.float32)
    labels = np.array([[1, 1], [0, 0], [0, 0], [1, 0]], np.float32)
    assert LabelObjective().measured(logits, labels).tolist() == pytest.approx([2 / 3, 1, 0, 0])
