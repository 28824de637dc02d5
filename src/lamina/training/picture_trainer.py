"""Training of networks that predict pictures: by squared errors, or by cross-entropy over bins of colors."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from lamina.models.chroma import SPREAD
from lamina.models.keras_runtime import keras, tf
from lamina.training.trainers import Trainer


@dataclass(eq=False)
class PictureTrainer(Trainer):
    """Trains a network that predicts channels of CIELAB.

    The measure is the squared error in CIELAB units, averaged over pixels and channels.

    Args:
        network: gives numbers per pixel.
        tail: turns these numbers into a and b, (n, S, S, 2), or L, (n, S, S, 1), in CIELAB units.
        rare: (bins,) weight of the pixels of each bin, for the cross-entropy. Targets are then the channels, and
            indices and weights of bins, (n, side, side, 5) each. None: the loss is the squared error in units of
            `SPREAD`, and targets are the channels alone.
    """

    measure = "mse"

    _: KW_ONLY
    tail: keras.Model
    rare: np.ndarray | None

    def _losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        outputs = tf.cast(outputs, tf.float32)
        colors = targets if self.rare is None else targets[0]
        errors = tf.reduce_mean(tf.square(self.tail(outputs) - colors), axis=(1, 2, 3))
        if self.rare is None:
            return errors / SPREAD**2, errors
        _, bins, shares = targets
        log_probabilities = tf.gather(tf.nn.log_softmax(outputs), bins, batch_dims=3)
        losses = -tf.reduce_sum(log_probabilities * shares, axis=-1) * tf.gather(
            tf.constant(self.rare, tf.float32), bins[..., 0]
        )
        return tf.reduce_mean(losses, axis=(1, 2)), errors
