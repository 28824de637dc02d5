"""How networks that answer with pictures take steps: by squared errors, or by cross-entropy over bins of colors."""

from typing import Any

import numpy as np

from lamina.models.chroma import SPREAD
from lamina.models.keras_runtime import keras, tf
from lamina.tasks.runs import Tuned
from lamina.training.trainers import Trainer


class PictureTrainer(Trainer):
    """Learns channels of CIELAB: the network's outputs become a and b through `tail`, (n, S, S, 2), or L, with one.

    rare: (bins,) what a pixel of each bin counts; None: the loss is the squared error, in units of `SPREAD`, averaged
    over pixels and channels. Targets are in CIELAB units, as what `tail` gives, beside them, where there are bins,
    (n, side, side, 5) indices of bins and their shares. The measure is the squared error in CIELAB units.
    """

    measure = "mse"

    def __init__(
        self, network: keras.Model, tuned: Tuned, *, tail: keras.Model, rare: np.ndarray | None, average: float = 0.0
    ) -> None:
        super().__init__(network, tuned, average=average)
        self._tail = tail
        self._rare = None if rare is None else tf.constant(rare, tf.float32)

    def _judged(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        outputs = tf.cast(outputs, tf.float32)
        colors = targets if self._rare is None else targets[0]
        measured = tf.reduce_mean(tf.square(self._tail(outputs) - colors), axis=(1, 2, 3))
        if self._rare is None:
            return measured / SPREAD**2, measured
        _, bins, shares = targets
        told = tf.gather(tf.nn.log_softmax(outputs), bins, batch_dims=3)
        losses = -tf.reduce_sum(told * shares, axis=-1) * tf.gather(self._rare, bins[..., 0])
        return tf.reduce_mean(losses, axis=(1, 2)), measured
