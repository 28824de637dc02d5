"""Heads over features in memory: Dense(256, ReLU) - Dropout - outputs (`lamina.training.objectives`), in JAX.

An epoch is one compiled call. It takes a sixth of the processor time of `model.fit` (bench/heads.py) and a third of
that of the same loop in TensorFlow, whose own XLA is no faster, and compiles within a second. Training many heads at
once (`vmap`) takes longer than one after another, because their weights do not fit the cache together. Nothing here
needs TensorFlow; a trained head is converted to a Keras model elsewhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jax import Array

from lamina.maths.class_weights import ClassWeights, class_weights
from lamina.models.networks import HEAD_UNITS
from lamina.progress import progress
from lamina.training.checkpoint import State as Saved
from lamina.training.head_steps import Batches, Fold, Rates, State, Weights, evaluate, on_devices, predict, train
from lamina.training.history import DivergedError, EpochRow, Sums, averages, kept_row
from lamina.training.objectives import Objective
from lamina.training.settings import GradientNumbers, GradientSettings

ROWS_AT_ONCE: Final = 1024  # in an evaluation
# streams of random numbers; the order of batches uses the seed and the epoch alone
_STREAMS: Final = {"weights": 1, "dropout": 2}


def make_fold(features: np.ndarray, labels: np.ndarray, targets: np.ndarray, factors: np.ndarray | None = None) -> Fold:
    """Move the rows of a fold to JAX; see `Fold`. factors: 1 where there are none."""
    ones = np.ones(len(features), np.float32)
    return on_devices(Fold(features, labels, targets.astype(np.float32), ones if factors is None else factors))


def make_class_fold(
    features: np.ndarray, labels: np.ndarray, classes: int, *, smoothing: float = 0.0, weighting: ClassWeights = "none"
) -> Fold:
    """Move the rows of a fold to JAX, with classes as targets.

    Args:
        features: (n, width) float16.
        labels: (n,) class numbers.
        classes: number of classes.
        smoothing: share of each label that is spread over all classes.
        weighting: of the classes in the losses (`lamina.maths.class_weights`).
    """
    targets = np.eye(classes, dtype=np.float32)[labels] * (1 - smoothing) + smoothing / classes
    return make_fold(features, labels, targets, class_weights(labels, classes, weighting)[labels])


def first_weights(width: int, units: int, *, seed: int) -> Weights:
    """Draw initial weights as Keras' Dense layers do: Glorot uniform, and zeros for the biases."""
    random = np.random.default_rng([seed, 0, _STREAMS["weights"]])

    def layer(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        limit = math.sqrt(6 / (rows + columns))
        return random.uniform(-limit, limit, (rows, columns)).astype(np.float32), np.zeros(columns, np.float32)

    return Weights(*layer(width, HEAD_UNITS), *layer(HEAD_UNITS, units))


def _in_batches(order: np.ndarray, size: int) -> Batches:
    """Row numbers in batches, (steps, size), and 1 for real rows, 0 for the padding of the last batch."""
    steps = -(-len(order) // size)
    rows = np.zeros(steps * size, np.int32)
    rows[: len(order)] = order
    return rows.reshape(steps, size), (np.arange(steps * size) < len(order)).astype(np.float32).reshape(steps, size)


def _numbers(sums: Array) -> Sums:
    loss, measured = np.asarray(sums).tolist()
    return loss, measured


@dataclass
class Head:
    """A head in training; each call of `train_epoch` trains one epoch.

    Args:
        run: settings of the run, such as batch_size and patience.
        numbers: learning rate, dropout and decay.
        train: see `make_fold`.
        validation: see `make_fold`.
        mean: (width,) mean of the features.
        variance: (width,) variance of the features.
        seed: of the weights, the order of batches and dropout.
        objective: what it learns.

    Attributes:
        history: a row for each finished epoch (see `lamina.training.fit.fit`).
        kept: the weights to use: of the last good epoch, or with `patience` of the epoch with the lowest validation
            loss; averaged if the run uses a moving average.
    """

    settings: GradientSettings
    numbers: GradientNumbers
    train: Fold
    validation: Fold
    mean: np.ndarray
    variance: np.ndarray
    seed: int
    objective: Objective
    history: list[EpochRow] = field(default_factory=list, init=False)
    kept: Weights = field(init=False)

    def __post_init__(self) -> None:
        self.start_from(first_weights(len(self.mean), self.train.targets.shape[1], seed=self.seed))
        self._moments = np.stack([self.mean, 1 / np.sqrt(self.variance)])
        count = len(self.validation.labels)
        self._validation_batches = _in_batches(np.arange(count), min(ROWS_AT_ONCE, count))
        self._best = math.inf
        self._waited = 0

    def start_from(self, weights: Weights) -> None:
        """Take first weights in place of the random ones."""
        slots = Weights(*map(np.zeros_like, weights))
        self.kept, self._state = weights, State(weights, slots, weights if self.settings.ema_decay else None)

    @property
    def stopped(self) -> bool:
        """Whether the run's patience is over."""
        return self.settings.patience is not None and self._waited >= self.settings.patience

    def state(self) -> Saved:
        """Return the complete state."""
        parts = (part for part in self._state if part is not None)
        best = [] if self.settings.patience is None else [np.asarray(values) for values in self.kept]
        return Saved(
            history=list(self.history),
            variables=[np.asarray(values) for part in parts for values in part],
            best=best,
        )

    def restore(self, saved: Saved) -> None:
        """Continue from what `state` returned for the same kind of head."""
        parts = [Weights(*saved.variables[at : at + 4]) for at in range(0, len(saved.variables), 4)]
        self._state = State(parts[0], parts[1], parts[2] if self.settings.ema_decay else None)
        self.history = list(saved.history)
        if self.settings.patience is None:
            self.kept = parts[-1] if self.settings.ema_decay else parts[0]
            return
        best = kept_row(self.history, self.settings.patience)
        self.kept, self._best = Weights(*saved.best), best["validation_loss"]
        self._waited = len(self.history) - int(best["epoch"])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict with the weights that are kept.

        Args:
            features: (n, width).

        Returns:
            (n, units).
        """
        blocks = (features[start : start + ROWS_AT_ONCE] for start in range(0, len(features), ROWS_AT_ONCE))
        kept, moments, objective = self.kept, self._moments, self.objective
        return np.concatenate([np.asarray(predict(kept, block, moments, objective=objective)) for block in blocks])

    def train_epoch(self, what: str = "train") -> EpochRow:
        """Train one epoch and return its row.

        Raises:
            DivergedError: if the loss is not finite.
        """
        epoch, count = len(self.history) + 1, len(self.train.labels)
        order = np.random.default_rng([self.seed, epoch]).permutation(count)
        batches = _in_batches(order, min(self.settings.batch_size, count))
        steps = len(batches[0]) * epoch
        rates = Rates(self.numbers.learning_rate, self.numbers.decay, self.numbers.dropout, self.settings.ema_decay)
        kept, moments, objective = self._dropout(epoch, batches[0].shape), self._moments, self.objective
        before = steps - len(batches[0])
        state, sums = train(self._state, self.train, moments, batches, kept, before, rates, objective=objective)
        weights = state.weights if state.averages is None else state.averages
        evaluated = evaluate(weights, self.validation, moments, self._validation_batches, objective=objective)
        row: EpochRow = {"epoch": epoch}
        row |= averages("train", _numbers(sums), count, objective.measure)
        row |= averages("validation", _numbers(evaluated), len(self.validation.labels), objective.measure)
        row["learning_rate"] = self.numbers.learning_rate / (1 + self.numbers.decay * steps)
        if not (math.isfinite(row["train_loss"]) and math.isfinite(row["validation_loss"])):
            raise DivergedError(f"{what}: the loss is not finite in epoch {epoch}; lower learning_rate")
        self._state = state
        self.history.append(row)
        self._keep(weights, row["validation_loss"])
        return row

    def _keep(self, weights: Weights, loss: float) -> None:
        if self.settings.patience is None or loss < self._best:
            self.kept, self._best, self._waited = weights, loss, 0
        else:
            self._waited += 1

    def _dropout(self, epoch: int, shape: tuple[int, ...]) -> np.ndarray:
        """What dropout keeps of the hidden layer's outputs; NumPy draws it in half the time of JAX."""
        random = np.random.default_rng([self.seed, epoch, _STREAMS["dropout"]])
        drawn = random.integers(1 << 16, size=(*shape, HEAD_UNITS), dtype=np.uint16)
        return drawn >= round(self.numbers.dropout * (1 << 16))


def train_head(
    head: Head, *, epochs: int, on_epoch: Callable[[EpochRow], None] = lambda row: None, what: str = "train"
) -> None:
    """Train a head until it has trained `epochs` epochs, or until its patience is over.

    Args:
        head: is changed in place.
        epochs: total number, with those that the head trained before.
        on_epoch: is called with the row of each epoch, also of those before. An error that it raises ends the training.
        what: name of the work, for the progress bar and errors.

    Raises:
        DivergedError: if the loss is not finite; the head keeps the weights of the last good epoch.
    """
    for row in head.history:
        on_epoch(row)
    for _ in progress(range(len(head.history), epochs), what=what, unit="epochs"):
        if head.stopped:
            break
        on_epoch(head.train_epoch(what))
