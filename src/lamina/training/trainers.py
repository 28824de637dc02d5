"""Training and evaluation steps, moving averages of the weights, and the losses of classifiers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import numpy as np

from lamina.models.keras_runtime import keras, tf
from lamina.models.layers import fuse_norms
from lamina.training.devices import devices, share_out
from lamina.training.optimizers import make_optimizer
from lamina.training.settings import GradientNumbers, Recipe


@dataclass(eq=False)
class Trainer:
    """A network and its optimizer.

    Subclasses define `measure` and `_losses`.

    Args:
        network: a Keras model.
        tuned: learning rate and decay.
        recipe: optimizer and schedule.
        steps: of the whole training, for schedules that end with it.
        ema_decay: decay of an exponential moving average (EMA) of the weights, statistics of batch normalization
            included; 0 for none. The decay of a step is min(ema_decay, (1 + step) / (10 + step)), so that the random
            initial weights soon lose their effect (as in TensorFlow's ExponentialMovingAverage).
    """

    measure: ClassVar[str]  # name of what is measured besides the loss, such as "accuracy"

    network: keras.Model
    tuned: GradientNumbers
    _: KW_ONLY
    recipe: Recipe = field(default_factory=Recipe)
    steps: int = 1
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        self.devices = devices()
        fuse_norms(self.network)
        self.optimizer = make_optimizer(self.network, self.recipe, self.tuned, self.steps)
        averaged = self.network.weights if self.ema_decay else []
        self._weights = [weight for weight in averaged if "float" in weight.dtype]
        self._ema = [tf.Variable(weight.numpy(), trainable=False) for weight in self._weights]

    def train_step(self, inputs: Any, targets: Any) -> Any:
        """Train on a batch.

        Returns:
            The sum of the losses and the sum of the measure.
        """
        is_shared = 1 < len(self.devices) <= len(inputs)
        return _of_any_number(self._shared_step if is_shared else self._train_step, inputs, targets)

    def eval_step(self, inputs: Any, targets: Any) -> Any:
        """Evaluate a batch without training; return the same two sums."""
        return _of_any_number(self._eval_step, inputs, targets)

    @tf.function(autograph=False)
    def _train_step(self, inputs: Any, targets: Any) -> Any:
        gradients, sums = self._gradients(inputs, targets)
        self.optimizer.apply(gradients)
        self._update_ema()
        return sums

    @tf.function(autograph=False)
    def _shared_step(self, inputs: Any, targets: Any) -> Any:
        statistics = [weight for weight in self.network.non_trainable_weights if "float" in weight.dtype]
        gradients, sums = share_out(self._gradients, (inputs, targets), self.devices, statistics)
        self.optimizer.apply(gradients)
        self._update_ema()
        return sums

    def _gradients(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        """Gradients of the mean loss, and the sums of the losses and of the measure."""
        with tf.GradientTape() as tape:
            losses, measured = self._training_losses(self.network(inputs, training=True), targets)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.network.trainable_variables)
        return gradients, (tf.reduce_sum(losses), tf.reduce_sum(measured))

    @tf.function(autograph=False)
    def _eval_step(self, inputs: Any, targets: Any) -> Any:
        losses, measured = self._losses(self.network(inputs, training=False), targets)
        return tf.reduce_sum(losses), tf.reduce_sum(measured)

    def _training_losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """Losses to minimize, and the measure, of each picture; by default those of `_losses`."""
        return self._losses(outputs, targets)

    def _losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """Losses and measure of each picture of a batch, (n,) each."""
        raise NotImplementedError

    @contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Give the network the averaged weights, if there are any, inside the `with` block."""
        before = [weight.numpy() for weight in self._weights]
        self._assign(self._ema)
        try:
            yield
        finally:
            self._assign(before)

    def evaluated_weights(self) -> list[np.ndarray]:
        """Return copies of the weights that are evaluated: the averaged ones, if there are any."""
        with self.ema_weights():
            return list(self.network.get_weights())

    def keep_weights(self, best: Sequence[np.ndarray]) -> None:
        """Set the final weights: `best`; if empty, the averaged ones; without these, change nothing."""
        if best:
            self.network.set_weights(best)
        else:
            self._assign(self._ema)

    def state(self) -> list[np.ndarray]:
        """Return copies of all variables that training changes, with the seeds of dropout."""
        return [np.array(variable) for variable in self._variables]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Restore what `state` returned."""
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)

    @property
    def _variables(self) -> list[Any]:
        return [*self.network.variables, *self.optimizer.variables, *self._ema]

    def _assign(self, values: Sequence[Any]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.assign(value)

    def _update_ema(self) -> None:
        """Move the averages towards the weights."""
        if not self._weights:
            return
        step = tf.cast(self.optimizer.iterations, tf.float32)
        rate = 1 - tf.minimum(self.ema_decay, (1 + step) / (10 + step))
        for average, weight in zip(self._ema, self._weights, strict=True):
            average.assign_add(rate * (tf.convert_to_tensor(weight) - average))


def _of_any_number(step: Any, *batch: Any) -> Any:
    """Take a step whose graph fits batches of any number of rows: the last one of an epoch is mostly smaller.

    A graph for each number would take as long to make as dozens of steps of a deep network.
    """
    arrays = tf.nest.map_structure(tf.convert_to_tensor, batch)
    kinds = tf.nest.map_structure(lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), arrays)
    return step.get_concrete_function(*kinds)(*arrays)


@dataclass(eq=False)
class ClassTrainer(Trainer):
    """Trains a classifier: outputs are class probabilities (n, classes).

    Targets are class numbers (n,); or, of mixed pictures, probabilities (n, classes).

    Args:
        class_weights: (classes,) factors of the losses.
        label_smoothing: share of each label that is spread over all classes.

    Both change the training losses alone, not those of `eval_step`.
    """

    measure = "accuracy"

    _: KW_ONLY
    class_weights: np.ndarray | None = None
    label_smoothing: float = 0.0

    def _losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        correct = tf.argmax(outputs, axis=-1) == tf.cast(targets, tf.int64)
        return keras.losses.sparse_categorical_crossentropy(targets, outputs), tf.cast(correct, tf.float32)

    def _training_losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        if len(targets.shape) == 2:
            return self._mixed_losses(outputs, targets)
        losses, correct = self._losses(outputs, targets)
        if self.label_smoothing:
            labels = tf.one_hot(targets, outputs.shape[-1])
            losses = keras.losses.categorical_crossentropy(labels, outputs, label_smoothing=self.label_smoothing)
        if self.class_weights is not None:
            losses *= tf.gather(tf.constant(self.class_weights, tf.float32), targets)
        return losses, correct

    def _mixed_losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """Losses of mixed pictures; one counts as correct by the larger part of it."""
        correct = tf.argmax(outputs, axis=-1) == tf.argmax(targets, axis=-1)
        losses = keras.losses.categorical_crossentropy(targets, outputs, label_smoothing=self.label_smoothing)
        if self.class_weights is not None:
            losses *= tf.linalg.matvec(targets, tf.constant(self.class_weights, tf.float32))
        return losses, tf.cast(correct, tf.float32)
