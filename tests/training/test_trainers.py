"""Training steps: losses with weights and smoothing, and moving averages."""

import numpy as np
import pytest

from fitting import STILL, random_examples, small_network
from lamina.models.keras_runtime import tf
from lamina.training.trainers import ClassTrainer


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]])
def test_losses_are_weighted_and_smoothed_by_the_formula(smoothing: float, weights: list[float] | None) -> None:
    network, examples = small_network(), random_examples(12, 2)
    inputs, labels = tf.cast(np.asarray(examples.rows), tf.float32), examples.labels
    logs = np.log(network(inputs).numpy().astype(float))
    expected = -(1 - smoothing) * logs[np.arange(12), labels] - smoothing * logs.mean(axis=1)
    plain = -logs[np.arange(12), labels]
    trainer = ClassTrainer(
        network, STILL, class_weights=None if weights is None else np.array(weights), label_smoothing=smoothing
    )
    assert float(trainer.eval_step(inputs, labels)[0]) == pytest.approx(plain.sum(), rel=1e-4)
    learned = float(trainer.train_step(inputs, labels)[0])
    assert learned == pytest.approx((expected * (1 if weights is None else np.array(weights)[labels])).sum(), rel=1e-4)


def test_one_graph_takes_batches_of_any_number_of_rows() -> None:
    trainer, examples = ClassTrainer(small_network(), STILL), random_examples(12, 2)
    inputs = np.asarray(examples.rows, np.float32)
    for count in (12, 12, 5, 1):
        trainer.train_step(inputs[:count], examples.labels[:count])
        trainer.eval_step(inputs[:count], examples.labels[:count])
    steps = (trainer._train_step, trainer._eval_step, trainer.optimizer.apply)
    assert [step.experimental_get_tracing_count() for step in steps] == [1, 1, 1]


def test_moving_averages_follow_the_weights_and_the_statistics() -> None:
    network, examples = small_network(normalized=True), random_examples(16, 3)
    trainer = ClassTrainer(network, STILL, ema_decay=0.6)
    expected = network.get_weights()
    for step in range(1, 9):
        trainer.train_step(tf.cast(np.asarray(examples.rows), tf.float32), examples.labels)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, network.get_weights(), strict=True)]
    raw = network.get_weights()
    for found, average, weight in zip(trainer.evaluated_weights(), expected, raw, strict=True):
        np.testing.assert_allclose(found, average, rtol=1e-4, atol=1e-6)
        assert not np.allclose(average, weight, rtol=1e-4), "statistics of batch normalization included"
    np.testing.assert_array_equal(
        np.concatenate([w.ravel() for w in network.get_weights()]), np.concatenate([w.ravel() for w in raw])
    )
    trainer.keep_weights([])
    np.testing.assert_allclose(network.get_weights()[0], expected[0], rtol=1e-4, atol=1e-6)
