"""What a head learns to predict: its losses, what is measured besides them, and its outputs. In JAX.

Each objective is a constant of the compiled functions of `lamina.training.heads`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Values: TypeAlias = Array | np.ndarray  # NumPy until a compiled function first uses them


class Objective(Protocol):
    """An objective; hashable, so that a function is compiled once for equal ones.

    Attributes:
        measure: Name of what is measured besides the loss.
    """

    measure: ClassVar[str]

    def losses(self, logits: Array, targets: Values) -> Array:
        """Return the loss of each row, (n,), of the last layer's values before activation and targets, (n, units)."""

    def measured(self, logits: Array, labels: Values) -> Array:
        """Return the measure of each row, (n,) float32, of the same values and the true labels."""

    def outputs(self, logits: Array) -> Array:
        """Return what the head predicts, (n, units)."""


@dataclass(frozen=True)
class ClassObjective:
    """One class a row: cross-entropy of a softmax. labels: (n,) class numbers; targets: (n, classes) shares."""

    measure: ClassVar[str] = "accuracy"

    def losses(self, logits: Array, targets: Values) -> Array:
        return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)

    def measured(self, logits: Array, labels: Values) -> Array:
        return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)

    def outputs(self, logits: Array) -> Array:
        return jax.nn.softmax(logits)


@dataclass(frozen=True)
class LabelObjective:
    """Any number of labels a row: mean binary cross-entropy of sigmoids. labels, targets: (n, labels), 0 or 1.

    The measure is F1 of each row at the threshold 0.5; 1 where no label is true and none is predicted.
    """

    measure: ClassVar[str] = "f1"

    def losses(self, logits: Array, targets: Values) -> Array:
        return jnp.mean(jax.nn.softplus(logits) - targets * logits, axis=-1)

    def measured(self, logits: Array, labels: Values) -> Array:
        predicted, true = (logits > 0).astype(jnp.float32), jnp.asarray(labels, jnp.float32)
        count = predicted.sum(axis=-1) + true.sum(axis=-1)
        return jnp.where(count > 0, 2 * (predicted * true).sum(axis=-1) / jnp.maximum(count, 1), 1.0)

    def outputs(self, logits: Array) -> Array:
        return jax.nn.sigmoid(logits)


@dataclass(frozen=True)
class NumberObjective:
    """A number a row: squared error of the standardized number. labels: (n,) in units; targets: (n, 1) standardized.

    Attributes:
        mean, deviation: Of the number in the training rows, by which it is standardized.
    """

    measure: ClassVar[str] = "mae"

    mean: float
    deviation: float

    def losses(self, logits: Array, targets: Values) -> Array:
        return jnp.square(logits - targets).sum(axis=-1)

    def measured(self, logits: Array, labels: Values) -> Array:
        return jnp.abs(self.outputs(logits)[:, 0] - labels)

    def outputs(self, logits: Array) -> Any:
        return logits * self.deviation + self.mean
