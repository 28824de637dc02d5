"""Optimizers and schedules of the learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lamina.models.keras_runtime import keras, tf
from lamina.models.layers import leaves
from lamina.training.settings import GradientNumbers, Recipe

MOMENTUM: Final = 0.9  # of SGD
COLDEST: Final = 0.01  # share of the learning rate that the cosine ends at
NOT_DECAYED: Final = ("bias", "gamma", "beta")  # as usual: neither biases nor normalizations


@dataclass(eq=False)
class Optimizer:
    """A Keras optimizer of given variables, and the schedule of its rate.

    The schedule is evaluated once in a step, and `apply` becomes a graph once, whatever the size of the pictures. Keras
    itself evaluates a schedule for each variable that decays, which takes longer than to trace the network.
    """

    stepping: Any
    schedule: Any

    @property
    def iterations(self) -> Any:
        """The number of steps taken."""
        return self.stepping.iterations

    @property
    def learning_rate(self) -> Any:
        """The rate of the next step."""
        return self.schedule(self.iterations)

    @property
    def variables(self) -> list[Any]:
        """All that a step changes, except for the network."""
        return list(self.stepping.variables)

    @tf.function(autograph=False)
    def apply(self, gradients: Sequence[Any]) -> None:
        """Take a step; gradients: of each variable."""
        self.stepping.learning_rate.assign(self.learning_rate)
        self.stepping.apply(gradients)


def make_optimizer(network: Any, recipe: Recipe, numbers: GradientNumbers, steps: int) -> Optimizer:
    """Make the optimizer of a network's trainable variables.

    Args:
        network: a Keras model.
        recipe: which optimizer, with which schedule.
        numbers: learning rate and decay.
        steps: of the whole training; the cosine ends with it.

    Source:
        RMSprop: Hinton 2012; AdamW: Loshchilov and Hutter, ICLR 2019; SGD with Nesterov's momentum: Sutskever et al.,
        ICML 2013.
    """
    kinds: Mapping[str, tuple[type, dict[str, Any]]] = {
        "rmsprop": (keras.optimizers.RMSprop, {"weight_decay": recipe.weight_decay or None}),
        "adamw": (keras.optimizers.AdamW, {"weight_decay": recipe.weight_decay}),
        "sgd": (
            keras.optimizers.SGD,
            {"weight_decay": recipe.weight_decay or None, "momentum": MOMENTUM, "nesterov": True},
        ),
    }
    kind, arguments = kinds[recipe.optimizer]
    rates = layer_rates(network, recipe.first_layer_rate)
    optimizer = _with_rates(kind, rates)(numbers.learning_rate, **arguments)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    optimizer.build(network.trainable_variables)
    return Optimizer(optimizer, _schedule(recipe, numbers, steps))


def _schedule(recipe: Recipe, numbers: GradientNumbers, steps: int) -> Any:
    schedules, rate = keras.optimizers.schedules, numbers.learning_rate
    if recipe.schedule == "decay":
        return schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=numbers.decay)
    warmup = round(recipe.warmup * steps)
    start = {"warmup_target": rate, "warmup_steps": warmup} if warmup else {}
    return schedules.CosineDecay(0.0 if warmup else rate, max(1, steps - warmup), alpha=COLDEST, **start)


def layer_rates(network: Any, first: float) -> list[float]:
    """Return a factor of the learning rate for each trainable variable: `first` for the first layer, 1 for the last.

    Layers between them have factors in geometric steps. Empty where all are 1.

    Source:
        J. Howard and S. Ruder, ULMFiT, ACL 2018 (discriminative fine-tuning).
    """
    layers = [layer for layer in leaves(network) if layer.trainable_weights]
    if first == 1 or len(layers) < 2:
        return []
    last = len(layers) - 1
    places = {id(variable): place for place, layer in enumerate(layers) for variable in layer.trainable_weights}
    return [first ** (1 - places[id(variable)] / last) for variable in network.trainable_variables]


def _with_rates(kind: type, rates: list[float]) -> type:
    """Derive an optimizer in which each variable has a factor of the learning rate."""
    if not rates:
        return kind

    class WithRates(kind):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * rates[self._get_variable_index(variable)])

    return WithRates
