"""The training loop: shuffled batches, the reference systems' optimiser and decay, one row per epoch."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from lamina.errors import UserError
from lamina.learn.runs import Tuned
from lamina.models.keras_runtime import keras, tf
from lamina.progress import progress

EpochRow = dict[str, float]
Sums = tuple[float, float]  # of losses, and of right answers


class DivergedError(UserError):
    """The loss is no longer a number: the learning rate is too high for this network."""


class Trainer:
    """A network with its optimiser: RMSprop with the decay rate / (1 + decay x step) of older Keras.

    network: a Keras model whose output is class probabilities.
    """

    def __init__(self, network: keras.Model, tuned: Tuned) -> None:
        rate = keras.optimizers.schedules.InverseTimeDecay(tuned.learning_rate, decay_steps=1, decay_rate=tuned.decay)
        self.network = network
        self.optimizer = keras.optimizers.RMSprop(rate)
        self.optimizer.build(network.trainable_variables)

    @tf.function(autograph=False, reduce_retracing=True)
    def learn(self, inputs: Any, labels: Any) -> Any:
        """Take one step on a batch; return its sum of losses and number of right answers."""
        with tf.GradientTape() as tape:
            probabilities = self.network(inputs, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            loss = tf.reduce_mean(losses)
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return tf.reduce_sum(losses), _count_right(labels, probabilities)

    @tf.function(autograph=False, reduce_retracing=True)
    def judge(self, inputs: Any, labels: Any) -> Any:
        """Judge a batch without learning; return the same two sums."""
        probabilities = self.network(inputs, training=False)
        losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return tf.reduce_sum(losses), _count_right(labels, probabilities)

    @tf.function(autograph=False, reduce_retracing=True)
    def learn_all(self, features: Any, labels: Any, order: Any, batch_size: Any) -> Any:
        """Take a step on each batch of resident features, all in one call; return the sums over all."""

        # written out: turning a Python loop into this one is what TensorFlow does not do on every Python
        def step(start: Any, loss: Any, right: Any) -> Any:
            rows = order[start : start + batch_size]
            inputs = tf.cast(tf.gather(features, rows), tf.float32)
            batch_loss, batch_right = self.learn(inputs, tf.gather(labels, rows))
            return start + batch_size, loss + batch_loss, right + batch_right

        def more(start: Any, loss: Any, right: Any) -> Any:
            return start < tf.size(order)

        return tf.while_loop(more, step, (tf.constant(0), tf.constant(0.0), tf.constant(0.0)))[1:]


def _count_right(labels: Any, probabilities: Any) -> Any:
    return tf.reduce_sum(tf.cast(tf.argmax(probabilities, axis=-1) == tf.cast(labels, tf.int64), tf.float32))


class Examples(Protocol):
    """Something to learn from, in batches."""

    def __len__(self) -> int: ...

    def learn(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> Sums:
        """Learn from all rows in this order."""

    def judge(self, trainer: Trainer, batch_size: int) -> Sums:
        """Judge all rows without learning."""


def fit(
    trainer: Trainer,
    train: Examples,
    validation: Examples,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    on_epoch: Callable[[EpochRow], None],
    what: str = "train",
) -> list[EpochRow]:
    """Train for some epochs; call `on_epoch` with each epoch's row as it ends.

    Returns the rows: `epoch` from 1, loss and accuracy on train (while learning, with dropout) and on
    validation (after the epoch), and the learning rate at its end. The order of batches depends on the
    seed and the epoch alone. Raises DivergedError where the loss is no longer a number; what `on_epoch`
    raises ends the training.
    """
    history: list[EpochRow] = []
    for epoch in progress(range(1, epochs + 1), what=what, unit="epochs"):
        order = np.random.default_rng([seed, epoch]).permutation(len(train)).astype(np.int32)
        row = {"epoch": epoch} | _averages("train", train.learn(trainer, order, batch_size), len(train))
        row |= _averages("validation", validation.judge(trainer, batch_size), len(validation))
        row["learning_rate"] = float(trainer.optimizer.learning_rate)
        if not math.isfinite(row["train_loss"]):
            raise DivergedError(f"{what}: the loss is not a number any more in epoch {epoch}; lower learning_rate")
        history.append(row)
        on_epoch(row)
    return history


def _averages(fold: str, sums: Sums, count: int) -> EpochRow:
    loss, right = sums
    return {f"{fold}_loss": float(loss) / count, f"{fold}_accuracy": float(right) / count}
