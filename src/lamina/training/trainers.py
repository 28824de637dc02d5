"""How networks take steps: the reference systems' optimiser and decay, averaged weights, and what is learned from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from lamina.models.keras_runtime import keras, tf
from lamina.tasks.runs import Tuned


class Trainer:
    """A network with its optimiser: RMSprop with the decay rate / (1 + decay x step) of older Keras.

    network: a Keras model. average: decay of an exponential moving average of the weights (0: none), the statistics of
    batch normalisations among them; it is min(average, (1 + step) / (10 + step)), so that the random start is soon
    forgotten (TensorFlow's ExponentialMovingAverage).
    Subclasses say what is learned from (`_learned`), and what is judged by (`_judged`): of a batch's outputs, the
    losses and the measure of each picture, (n,).
    """

    measure: ClassVar[str]

    def __init__(self, network: keras.Model, tuned: Tuned, *, average: float = 0.0) -> None:
        rate = keras.optimizers.schedules.InverseTimeDecay(tuned.learning_rate, decay_steps=1, decay_rate=tuned.decay)
        self.network = network
        self.optimizer = keras.optimizers.RMSprop(rate)
        self.optimizer.build(network.trainable_variables)
        self._decay = average
        self._moving = [weight for weight in network.weights if "float" in weight.dtype] if average else []
        self._averages = [tf.Variable(weight.numpy(), trainable=False) for weight in self._moving]

    @tf.function(autograph=False, reduce_retracing=True)
    def learn(self, inputs: Any, targets: Any) -> Any:
        """Take one step on a batch; return its sum of losses and that of the measure."""
        with tf.GradientTape() as tape:
            losses, measured = self._learned(self.network(inputs, training=True), targets)
            loss = tf.reduce_mean(losses)
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self._follow()
        return tf.reduce_sum(losses), tf.reduce_sum(measured)

    @tf.function(autograph=False, reduce_retracing=True)
    def judge(self, inputs: Any, targets: Any) -> Any:
        """Judge a batch without learning; return the same two sums."""
        losses, measured = self._judged(self.network(inputs, training=False), targets)
        return tf.reduce_sum(losses), tf.reduce_sum(measured)

    def _learned(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        return self._judged(outputs, targets)

    def _judged(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        raise NotImplementedError

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

    def _follow(self) -> None:
        """Move the averages towards the weights."""
        if not self._moving:
            return
        step = tf.cast(self.optimizer.iterations, tf.float32)
        left = 1 - tf.minimum(self._decay, (1 + step) / (10 + step))
        for average, weight in zip(self._averages, self._moving, strict=True):
            average.assign_add(left * (tf.convert_to_tensor(weight) - average))


class ClassTrainer(Trainer):
    """Learns to name classes: the network's output is class probabilities, targets are class numbers, (n,).

    class_weights: (classes,) factors of the losses that are learned from. label_smoothing: share of each label that is
    spread over all classes. Only losses that are learned from are weighted and smoothed, those of `judge` are not.
    """

    measure = "accuracy"

    def __init__(
        self,
        network: keras.Model,
        tuned: Tuned,
        *,
        class_weights: np.ndarray | None = None,
        label_smoothing: float = 0.0,
        average: float = 0.0,
    ) -> None:
        super().__init__(network, tuned, average=average)
        self._class_weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        self._smoothing = label_smoothing

    def _judged(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        right = tf.argmax(outputs, axis=-1) == tf.cast(targets, tf.int64)
        return keras.losses.sparse_categorical_crossentropy(targets, outputs), tf.cast(right, tf.float32)

    def _learned(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        losses, right = self._judged(outputs, targets)
        if self._smoothing:
            told = tf.one_hot(targets, outputs.shape[-1])
            losses = keras.losses.categorical_crossentropy(told, outputs, label_smoothing=self._smoothing)
        return (losses if self._class_weights is None else losses * tf.gather(self._class_weights, targets)), right
