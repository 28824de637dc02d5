"""Training of networks that predict a number."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from lamina.models.keras_runtime import tf
from lamina.training.trainers import Trainer


@dataclass(eq=False)
class NumberTrainer(Trainer):
    """Trains a network from outputs (n, 1), standardized numbers, and targets (n, 1) in their own unit.

    The loss is the squared error of the standardized number; the measure is the absolute error in the target's unit.

    Args:
        mean, deviation: of the target in the training pictures.
    """

    measure = "mae"

    _: KW_ONLY
    mean: float
    deviation: float

    def _losses(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        errors = outputs[:, 0] - (targets[:, 0] - self.mean) / self.deviation
        return tf.square(errors), tf.abs(errors) * self.deviation
