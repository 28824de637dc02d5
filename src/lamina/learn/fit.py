"""The training loop: shuffled batches, the reference systems' optimiser and decay, one row per epoch."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from lamina.errors import UserError
from lamina.learn.checkpoint import Checkpoint, State
from lamina.learn.history import DivergedError, EpochRow, Sums, averages, kept_row
from lamina.learn.memory import free_memory
from lamina.learn.runs import Tuned
from lamina.models.keras_runtime import keras, tf
from lamina.models.layers import bytes_per_picture
from lamina.progress import progress


class Trainer:
    """A network with its optimiser: RMSprop with the decay rate / (1 + decay x step) of older Keras.

    network: a Keras model whose output is class probabilities. class_weights: (classes,) factors of the losses that
    are learned from. label_smoothing: share of each label that is spread over all classes. average: decay of an
    exponential moving average of the weights (0: none), the statistics of batch normalisations among them; it is
    min(average, (1 + step) / (10 + step)), so that the random start is soon forgotten (TensorFlow's
    ExponentialMovingAverage). Only losses that are learned from are weighted and smoothed, those of `judge` are not.
    """

    def __init__(
        self,
        network: keras.Model,
        tuned: Tuned,
        *,
        class_weights: np.ndarray | None = None,
        label_smoothing: float = 0.0,
        average: float = 0.0,
    ) -> None:
        rate = keras.optimizers.schedules.InverseTimeDecay(tuned.learning_rate, decay_steps=1, decay_rate=tuned.decay)
        self.network = network
        self.optimizer = keras.optimizers.RMSprop(rate)
        self.optimizer.build(network.trainable_variables)
        self._class_weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        self._smoothing = label_smoothing
        self._decay = average
        self._moving = [weight for weight in network.weights if "float" in weight.dtype] if average else []
        self._averages = [tf.Variable(weight.numpy(), trainable=False) for weight in self._moving]

    @tf.function(autograph=False, reduce_retracing=True)
    def learn(self, inputs: Any, labels: Any) -> Any:
        """Take one step on a batch; return its sum of losses and number of right answers."""
        with tf.GradientTape() as tape:
            probabilities = self.network(inputs, training=True)
            losses = self._losses(labels, probabilities)
            loss = tf.reduce_mean(losses)
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self._follow()
        return tf.reduce_sum(losses), _count_right(labels, probabilities)

    @tf.function(autograph=False, reduce_retracing=True)
    def judge(self, inputs: Any, labels: Any) -> Any:
        """Judge a batch without learning; return the same two sums."""
        probabilities = self.network(inputs, training=False)
        losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return tf.reduce_sum(losses), _count_right(labels, probabilities)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the network has the averaged weights, where there are any."""
        before = [weight.numpy() for weight in self._moving]
        self._assign(self._averages)
        try:
            yield
        finally:
            self._assign(before)

    def judged_weights(self) -> list[np.ndarray]:
        """Copies of the weights that `judge` stands for: the averaged ones, where there are any."""
        with self.averaged():
            return list(self.network.get_weights())

    def settle(self, best: Sequence[np.ndarray]) -> None:
        """Give the network the weights to keep: `best`, or else the averaged ones, or else those that it has."""
        if best:
            self.network.set_weights(best)
        else:
            self._assign(self._averages)

    def state(self) -> list[np.ndarray]:
        """Copies of all that training changes, seeds of dropout included."""
        return [np.array(variable) for variable in self._variables]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Take back what `state` gave."""
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)

    @property
    def _variables(self) -> list[Any]:
        return [*self.network.variables, *self.optimizer.variables, *self._averages]

    def _assign(self, values: Sequence[Any]) -> None:
        for weight, value in zip(self._moving, values, strict=True):
            weight.assign(value)

    def _losses(self, labels: Any, probabilities: Any) -> Any:
        if self._smoothing:
            told = tf.one_hot(labels, probabilities.shape[-1])
            losses = keras.losses.categorical_crossentropy(told, probabilities, label_smoothing=self._smoothing)
        else:
            losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return losses if self._class_weights is None else losses * tf.gather(self._class_weights, labels)

    def _follow(self) -> None:
        """Move the averages towards the weights."""
        if not self._moving:
            return
        step = tf.cast(self.optimizer.iterations, tf.float32)
        left = 1 - tf.minimum(self._decay, (1 + step) / (10 + step))
        for average, weight in zip(self._averages, self._moving, strict=True):
            average.assign_add(left * (tf.convert_to_tensor(weight) - average))


def _count_right(labels: Any, probabilities: Any) -> Any:
    return tf.reduce_sum(tf.cast(tf.argmax(probabilities, axis=-1) == tf.cast(labels, tf.int64), tf.float32))


class Examples(Protocol):
    """Something to learn from, in batches. labels: (n,) class numbers."""

    @property
    def labels(self) -> Any: ...

    def __len__(self) -> int: ...

    def learn(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> Sums:
        """Learn from all rows in this order."""

    def judge(self, trainer: Trainer, batch_size: int) -> Sums:
        """Judge all rows without learning."""

    def answers(self, network: keras.Model) -> np.ndarray:
        """What a network says of all rows, in their order: (rows, classes) float32 probabilities."""


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
    first: int = 1,
    patience: int | None = None,
    anew: Callable[[int], Examples] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[EpochRow]:
    """Train for some epochs; call `on_epoch` with each epoch's row as it ends.

    first: the number of the first epoch. patience: stop after so many epochs without a better validation loss, and
    in any case end with the weights of the best one. anew: the training examples of an epoch, where each has its own.
    checkpoint: where to go on from, and to save to; `on_epoch` hears of the saved epochs again.
    Returns the rows: `epoch`, loss and accuracy on train (while learning, with dropout) and on
    validation (after the epoch), and the learning rate at its end. The order of batches depends on the
    seed and the epoch alone. Raises DivergedError where the loss is no longer a number, UserError where there is no
    memory for a batch; what `on_epoch` raises ends the training.
    """
    history, best = _resumed(trainer, checkpoint)
    for row in history:
        on_epoch(row)
    try:
        for epoch in progress(range(first + len(history), first + epochs), what=what, unit="epochs"):
            if _stopped(history, patience):
                break
            row = _epoch(trainer, anew(epoch) if anew else train, validation, epoch, batch_size, seed)
            if not math.isfinite(row["train_loss"] + row["validation_loss"]):
                raise DivergedError(_diverged(what, epoch, history, checkpoint))
            history.append(row)
            if patience is not None and kept_row(history, patience) is row:
                best = trainer.judged_weights()
            if checkpoint:
                checkpoint.keep(State(history=list(history), variables=trainer.state(), best=best))
            on_epoch(row)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise UserError(_no_memory(trainer, batch_size, what)) from None
    finally:
        if checkpoint:
            checkpoint.flush()
    trainer.settle(best)
    return history


def _epoch(trainer: Trainer, train: Examples, validation: Examples, epoch: int, batch_size: int, seed: int) -> EpochRow:
    """Learn and judge once; return the row."""
    order = np.random.default_rng([seed, epoch]).permutation(len(train)).astype(np.int32)
    row = {"epoch": epoch} | averages("train", train.learn(trainer, order, batch_size), len(train))
    with trainer.averaged():
        row |= averages("validation", validation.judge(trainer, batch_size), len(validation))
    return row | {"learning_rate": float(trainer.optimizer.learning_rate)}


def _resumed(trainer: Trainer, checkpoint: Checkpoint | None) -> tuple[list[EpochRow], list[np.ndarray]]:
    """Bring the trainer to where it was saved; return the history and the best weights so far."""
    saved = checkpoint.load() if checkpoint else None
    if not saved:
        return [], []
    try:
        trainer.restore(saved.variables)
    except ValueError:
        raise UserError(f"{checkpoint.path}: of another network; delete it and run again") from None  # type: ignore[union-attr]
    return saved.history, saved.best


def _stopped(history: Sequence[EpochRow], patience: int | None) -> bool:
    return (
        bool(history)
        and patience is not None
        and history[-1]["epoch"] - kept_row(history, patience)["epoch"] >= patience
    )


def _diverged(what: str, epoch: int, history: Sequence[EpochRow], checkpoint: Checkpoint | None) -> str:
    kept = f"; the weights of epoch {history[-1]['epoch']} are in {checkpoint.path}" if checkpoint and history else ""
    return f"{what}: the loss is not a number any more in epoch {epoch}; lower learning_rate{kept}"


def _no_memory(trainer: Trainer, batch_size: int, what: str) -> str:
    """What to say of a batch for which there was no memory: after such a failure not even a smaller one is sure to run.

    On a GPU half of it is named; the memory of a machine tells more.
    """
    each = bytes_per_picture(trainer.network)
    fits = batch_size // 2
    if not tf.config.list_physical_devices("GPU"):
        fits = max(1, min(fits, free_memory() // each))
    needs = f"a step needs up to {each / 2**20:.2g} MiB for each of its pictures"
    if batch_size == 1:
        return f"{what}: no memory for a single picture ({needs}); take a smaller network, or a smaller convert.size"
    return f"{what}: no memory for batch_size {batch_size} ({needs}); lower it: {fits} should fit, by estimate"
