"""Training of networks that give a picture any number of labels."""

from dataclasses import dataclass
from typing import Any

from lamina.models.keras_runtime import keras, tf
from lamina.training.trainers import Trainer


@dataclass(eq=False)
class LabelTrainer(Trainer):
    """Trains a network from outputs (n, labels), probabilities, and targets of the same shape, 0 or 1.

    The loss is the mean binary cross-entropy; the measure is the F1 of each picture's labels at the threshold 0.5.
    """

    measure = "f1"

    def _losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        named = tf.cast(outputs > 0.5, tf.float32)
        count = tf.reduce_sum(named + targets, axis=-1)
        both = 2 * tf.reduce_sum(named * targets, axis=-1)
        return keras.losses.binary_crossentropy(targets, outputs), tf.where(count > 0, both / tf.maximum(count, 1), 1.0)
