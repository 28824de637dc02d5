"""Heads over features in memory: Dense(256, ReLU) - Dropout - Dense(classes, softmax), an epoch a compiled call.

In JAX, since it takes a sixth of the processor time of `model.fit` (bench/heads.py) and a third of that of the same
loop in TensorFlow, whose own XLA is no faster; it compiles within a second. Many heads as one batch of matrix products
(`vmap`) take longer than one after another: their weights leave the cache. Nothing here needs TensorFlow: a head
becomes a Keras model where it is used.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lamina.models.networks import HEAD_UNITS
from lamina.progress import progress
from lamina.tasks.runs import Run, Tuned
from lamina.training.checkpoint import State as Saved
from lamina.training.history import DivergedError, EpochRow, Sums, averages, kept_row

RHO, EPSILON = 0.9, 1e-7  # of Keras' RMSprop
JUDGED_AT_ONCE: Final = 1024  # rows
_STREAMS: Final = {"weights": 1, "dropout": 2}  # the order of batches has the seed and the epoch alone

Values: TypeAlias = Array | np.ndarray  # on the host until a compiled function first takes them
Batches: TypeAlias = tuple[Any, Any]  # rows, and which of them are there


class Weights(NamedTuple):
    """Of both layers: hidden (width, 256), hidden_bias (256,), classes (256, classes), classes_bias (classes,)."""

    hidden: Values
    hidden_bias: Values
    classes: Values
    classes_bias: Values


class State(NamedTuple):
    """What a step changes; averages: of the weights, None where nobody asks for them."""

    weights: Weights
    slots: Weights
    averages: Weights | None


class Fold(NamedTuple):
    """Rows of a fold in memory: features (n, width) float16, labels (n,) int32; as they are learned from, targets
    (n, classes) and the factors of the losses, (n,)."""

    features: Values
    labels: Values
    targets: Values
    factors: Values


class Rates(NamedTuple):
    """Numbers that may change without compiling anew."""

    learning_rate: float
    decay: float
    dropout: float
    average: float


def make_fold(
    features: np.ndarray, labels: np.ndarray, classes: int, *, smoothing: float = 0.0, balanced: bool = False
) -> Fold:
    """Bring rows into memory. smoothing: share of each label that is spread over all classes.

    balanced: each loss counts n / (classes x n of its class), as in scikit-learn's `compute_class_weight`.
    """
    targets = np.eye(classes, dtype=np.float32)[labels] * (1 - smoothing) + smoothing / classes
    counts = np.bincount(labels, minlength=classes)
    factors = len(labels) / (classes * counts[labels]) if balanced else np.ones(len(labels))
    return Fold(*map(jax.device_put, (features, labels, targets.astype(np.float32), factors.astype(np.float32))))


def first_weights(width: int, classes: int, *, seed: int) -> Weights:
    """Glorot's uniform weights, and zeros for the biases, as Keras' Dense layers start."""
    random = np.random.default_rng([seed, 0, _STREAMS["weights"]])

    def layer(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        reach = math.sqrt(6 / (rows + columns))
        return random.uniform(-reach, reach, (rows, columns)).astype(np.float32), np.zeros(columns, np.float32)

    return Weights(*layer(width, HEAD_UNITS), *layer(HEAD_UNITS, classes))


def _standardised(features: Values, moments: Values) -> Values:
    return (features.astype(jnp.float32) - moments[0]) * moments[1]


def _logits(weights: Weights, inputs: Values, kept: Array | None = None, dropout: float = 0.0) -> Array:
    hidden = jax.nn.relu(inputs @ weights.hidden + weights.hidden_bias)
    if kept is not None:
        hidden = jnp.where(kept, hidden / (1 - dropout), 0)
    return hidden @ weights.classes + weights.classes_bias


def _losses(logits: Array, targets: Array) -> Array:
    return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)


def _right(logits: Array, labels: Values) -> Array:
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)


def _take_step(state: State, gradients: Weights, step: Array, rates: Rates) -> State:
    """Keras' RMSprop with the rate of older Keras, rate / (1 + decay x step)."""
    rate = rates.learning_rate / (1 + rates.decay * step)
    slots = Weights(*(RHO * slot + (1 - RHO) * g * g for slot, g in zip(state.slots, gradients, strict=True)))
    moved = zip(state.weights, gradients, slots, strict=True)
    weights = Weights(*(weight - rate * g * lax.rsqrt(slot + EPSILON) for weight, g, slot in moved))
    if state.averages is None:
        return State(weights, slots, None)
    # the random start is soon forgotten, as by TensorFlow's ExponentialMovingAverage
    left = 1 - jnp.minimum(rates.average, (2 + step) / (11 + step))
    followed = zip(state.averages, weights, strict=True)
    return State(weights, slots, Weights(*(average + left * (weight - average) for average, weight in followed)))


@jax.jit
def _learn(
    state: State, fold: Fold, moments: Values, batches: Batches, kept: Any, first: int, rates: Rates
) -> tuple[State, Array]:
    """Take a step on every batch; return the state after them, the sum of losses and the number of right answers.

    moments: (2, width), mean of the features and the reciprocal of their deviation. batches: rows (steps, size) and
    which of them are there, alike. kept: (steps, size, 256), what dropout leaves. first: steps taken before.
    """

    def step(carried: tuple[State, Array], batch: tuple[Any, ...]) -> tuple[tuple[State, Array], None]:
        (state, sums), (number, rows, there, kept) = carried, batch
        inputs = _standardised(fold.features[rows], moments)

        def loss(weights: Weights) -> tuple[Array, tuple[Array, Array]]:
            logits = _logits(weights, inputs, kept, rates.dropout)
            losses = _losses(logits, fold.targets[rows]) * fold.factors[rows] * there
            return losses.sum() / there.sum(), (losses.sum(), (_right(logits, fold.labels[rows]) * there).sum())

        gradients, found = jax.grad(loss, has_aux=True)(state.weights)
        return (_take_step(state, gradients, number, rates), sums + jnp.stack(found)), None

    numbers = first + jnp.arange(len(kept), dtype=jnp.float32)
    (state, sums), _ = lax.scan(step, (state, jnp.zeros(2)), (numbers, *batches, kept))
    return state, sums


@jax.jit
def _judge(weights: Weights, fold: Fold, moments: Values, batches: Batches) -> Array:
    """Sum of losses and number of right answers, without dropout, smoothing or factors."""

    def block(sums: Array, batch: Batches) -> tuple[Array, None]:
        rows, there = batch
        logits = _logits(weights, _standardised(fold.features[rows], moments))
        losses = _losses(logits, jax.nn.one_hot(fold.labels[rows], logits.shape[-1]))
        return sums + jnp.stack([(losses * there).sum(), (_right(logits, fold.labels[rows]) * there).sum()]), None

    return lax.scan(block, jnp.zeros(2), batches)[0]


@jax.jit
def _probabilities(weights: Weights, features: Array, moments: Array) -> Array:
    return jax.nn.softmax(_logits(weights, (features.astype(jnp.float32) - moments[0]) * moments[1]))


def _in_batches(order: np.ndarray, size: int) -> Batches:
    """Rows in batches, (steps, size), and 1 where a row is there, 0 where the last batch is filled up."""
    steps = -(-len(order) // size)
    rows = np.zeros(steps * size, np.int32)
    rows[: len(order)] = order
    return rows.reshape(steps, size), (np.arange(steps * size) < len(order)).astype(np.float32).reshape(steps, size)


def _told(sums: Array) -> Sums:
    loss, right = np.asarray(sums).tolist()
    return loss, right


@dataclass
class Head:
    """A head that learns, an epoch a call.

    train, validation: see `make_fold`. mean, variance: (width,) of the features. seed: of weights, order of batches
    and dropout. history: a row per epoch that ended (see `lamina.training.fit.fit`). kept: the weights to use: of the
    last good epoch, or with `patience` of the one with the least validation loss; averaged where the run says so.
    """

    run: Run
    tuned: Tuned
    train: Fold
    validation: Fold
    mean: np.ndarray
    variance: np.ndarray
    seed: int
    history: list[EpochRow] = field(default_factory=list, init=False)
    kept: Weights = field(init=False)

    def __post_init__(self) -> None:
        self.kept = first_weights(len(self.mean), self.train.targets.shape[1], seed=self.seed)
        slots = Weights(*map(np.zeros_like, self.kept))
        self._state = State(self.kept, slots, self.kept if self.run.average else None)
        self._moments = np.stack([self.mean, 1 / np.sqrt(self.variance)])
        judged = len(self.validation.labels)
        self._everything = _in_batches(np.arange(judged), min(JUDGED_AT_ONCE, judged))
        self._best = math.inf
        self._waited = 0

    def start_from(self, weights: Weights) -> None:
        """Take first weights in place of the random ones."""
        self.kept = weights
        self._state = State(weights, Weights(*map(np.zeros_like, weights)), weights if self.run.average else None)

    @property
    def stopped(self) -> bool:
        """Whether the run's patience is at its end."""
        return self.run.patience is not None and self._waited >= self.run.patience

    def state(self) -> Saved:
        """All that decides how it goes on."""
        parts = (part for part in self._state if part is not None)
        best = [] if self.run.patience is None else [np.asarray(values) for values in self.kept]
        return Saved(
            history=list(self.history),
            variables=[np.asarray(values) for part in parts for values in part],
            best=best,
        )

    def restore(self, saved: Saved) -> None:
        """Go on from what `state` gave of a head like this one."""
        parts = [Weights(*saved.variables[at : at + 4]) for at in range(0, len(saved.variables), 4)]
        self._state = State(parts[0], parts[1], parts[2] if self.run.average else None)
        self.history = list(saved.history)
        if self.run.patience is None:
            self.kept = parts[-1] if self.run.average else parts[0]
            return
        best = kept_row(self.history, self.run.patience)
        self.kept, self._best = Weights(*saved.best), best["validation_loss"]
        self._waited = len(self.history) - int(best["epoch"])

    def answers(self, features: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes), by the weights that are kept. features: (n, width)."""
        blocks = (features[start : start + JUDGED_AT_ONCE] for start in range(0, len(features), JUDGED_AT_ONCE))
        found = [_probabilities(self.kept, jnp.asarray(block), self._moments) for block in blocks]
        return np.concatenate([np.asarray(block) for block in found])

    def learn(self, what: str = "train") -> EpochRow:
        """Learn for an epoch; return its row. Raises DivergedError where the loss is no number any more."""
        epoch, count = len(self.history) + 1, len(self.train.labels)
        order = np.random.default_rng([self.seed, epoch]).permutation(count)
        batches = _in_batches(order, min(self.run.batch_size, count))
        steps = len(batches[0]) * epoch
        rates = Rates(self.tuned.learning_rate, self.tuned.decay, self.tuned.dropout, self.run.average)
        kept = self._dropout(epoch, batches[0].shape)
        state, sums = _learn(self._state, self.train, self._moments, batches, kept, steps - len(batches[0]), rates)
        weights = state.weights if state.averages is None else state.averages
        judged = _judge(weights, self.validation, self._moments, self._everything)
        row: EpochRow = {"epoch": epoch}
        row |= averages("train", _told(sums), count)
        row |= averages("validation", _told(judged), len(self.validation.labels))
        row["learning_rate"] = self.tuned.learning_rate / (1 + self.tuned.decay * steps)
        if not (math.isfinite(row["train_loss"]) and math.isfinite(row["validation_loss"])):
            raise DivergedError(f"{what}: the loss is not a number any more in epoch {epoch}; lower learning_rate")
        self._state = state
        self.history.append(row)
        self._keep(weights, row["validation_loss"])
        return row

    def _keep(self, weights: Weights, loss: float) -> None:
        if self.run.patience is None or loss < self._best:
            self.kept, self._best, self._waited = weights, loss, 0
        else:
            self._waited += 1

    def _dropout(self, epoch: int, shape: tuple[int, ...]) -> np.ndarray:
        """What dropout leaves of the hidden layer's outputs, drawn on the host: half of what JAX' own draws cost."""
        random = np.random.default_rng([self.seed, epoch, _STREAMS["dropout"]])
        drawn = random.integers(1 << 16, size=(*shape, HEAD_UNITS), dtype=np.uint16)
        return drawn >= round(self.tuned.dropout * (1 << 16))


def learn(
    head: Head, *, epochs: int, on_epoch: Callable[[EpochRow], None] = lambda row: None, what: str = "train"
) -> None:
    """Let a head learn until it has learned for so many epochs; what `on_epoch` raises ends the training.

    on_epoch: hears of each epoch's row, also of those that the head learned before.
    Raises DivergedError where the loss is no number any more; the head keeps the weights of the last good epoch.
    """
    for row in head.history:
        on_epoch(row)
    for _ in progress(range(len(head.history), epochs), what=what, unit="epochs"):
        if head.stopped:
            break
        on_epoch(head.learn(what))
