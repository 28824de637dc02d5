"""The compiled functions of heads: an epoch of steps, an evaluation, and predictions. In JAX.

The weights of a wide head do not fit the processor's cache, and its steps wait for memory. With the plain order of
product, gradients and step, weights and slots pass through memory seven times. Here they pass four times: RMSprop's
step for some rows of the hidden layer is followed at once by the product of these rows with the next batch. The cores
share the rows; each is a device for JAX. A narrow head is computed by the same code as one part, with all rows at once.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Parts
from joblib import cpu_count

from lamina.training.objectives import Objective, Values

RHO, EPSILON = 0.9, 1e-7  # of Keras' RMSprop
WIDE: Final = 8192  # features: narrower heads stay in the cache as they are
ROWS_OF_A_PART: Final = 4096  # at least
ROWS_OF_A_TILE: Final = 2048  # whose weights and slots fit the cache: 2 MB each
_WIDTH: Final = "width"  # name of what is divided

with suppress(RuntimeError):  # another library has used JAX before: one device
    jax.config.update("jax_num_cpu_devices", cpu_count())

Batches: TypeAlias = tuple[Any, Any]  # row numbers; 1 for real rows, 0 for padding


class Weights(NamedTuple):
    """Both layers: hidden (width, 256), hidden_bias (256,), outputs (256, units), outputs_bias (units,)."""

    hidden: Any
    hidden_bias: Any
    outputs: Any
    outputs_bias: Any


class State(NamedTuple):
    """Everything that a step changes; averages: moving averages of the weights, None if not used."""

    weights: Weights
    slots: Weights
    averages: Weights | None


class Fold(NamedTuple):
    """Rows of a fold in memory: features (n, width) float16, and labels as the objective has them.

    targets: (n, units), what the losses compare with, such as smoothed labels. factors: (n,) of the training losses.
    """

    features: Any
    labels: Any
    targets: Any
    factors: Any


class Rates(NamedTuple):
    """Numbers that can change without a new compilation."""

    learning_rate: Any
    decay: Any
    dropout: Any
    average: Any


# what each part has of them: its rows of the hidden layer, and the features that these multiply
_WEIGHTS: Final = Weights(Parts(_WIDTH), Parts(), Parts(), Parts())
_FOLD: Final = Fold(Parts(None, _WIDTH), Parts(), Parts(), Parts())
_COLUMNS: Final = Parts(None, _WIDTH)


def _mesh(width: int) -> Mesh:
    """Return the cores that divide the rows of a hidden layer."""
    devices = jax.devices("cpu")
    most = min(len(devices), width // ROWS_OF_A_PART) if width >= WIDE else 1
    parts = next(parts for parts in range(most, 0, -1) if width % parts == 0)
    return Mesh(np.array(devices[:parts]), (_WIDTH,))


def on_devices(fold: Fold) -> Fold:
    """Move a fold of arrays to where its parts are used."""
    mesh = _mesh(fold.features.shape[1])
    return Fold(*(jax.device_put(values, NamedSharding(mesh, part)) for values, part in zip(fold, _FOLD, strict=True)))


@partial(jax.jit, static_argnames="objective")
def train(
    state: State,
    fold: Fold,
    moments: Values,
    batches: Batches,
    kept: Any,
    first: int,
    rates: Rates,
    *,
    objective: Objective,
) -> tuple[State, Array]:
    """Train on every batch; return the new state, and the sums of the losses and of the measure.

    Args:
        state: before.
        fold: of training rows; see `on_devices`.
        moments: (2, width), mean of the features and 1 / standard deviation.
        batches: row numbers (steps, size), and 1 for real rows, 0 for padding.
        kept: (steps, size, 256), what dropout keeps.
        first: number of steps before.
        rates: of this epoch.
        objective: what is learned.
    """
    states = State(_WEIGHTS, _WEIGHTS, None if state.averages is None else _WEIGHTS)
    given = (states, _FOLD, _COLUMNS, Parts(), Parts(), Parts(), Parts())
    part = _divided(partial(_train_part, objective=objective), state.weights, given, (states, Parts()))
    trained: tuple[State, Array] = part(state, fold, moments, batches, kept, first, rates)
    return trained


@partial(jax.jit, static_argnames="objective")
def evaluate(weights: Weights, fold: Fold, moments: Values, batches: Batches, *, objective: Objective) -> Array:
    """Sums of the losses and of the measure, (2,), without dropout and factors."""

    def part(weights: Weights, fold: Fold, moments: Array, batches: Batches) -> Array:
        def block(sums: Array, batch: Batches) -> tuple[Array, None]:
            rows, is_real = batch
            logits = _logits(weights, _standardised(fold.features[rows], moments))
            losses = objective.losses(logits, fold.targets[rows])
            measured = objective.measured(logits, fold.labels[rows])
            return sums + jnp.stack([(losses * is_real).sum(), (measured * is_real).sum()]), None

        return lax.scan(block, jnp.zeros(2), batches)[0]

    given = (_WEIGHTS, _FOLD, _COLUMNS, Parts())
    sums: Array = _divided(part, weights, given, Parts())(weights, fold, moments, batches)
    return sums


@partial(jax.jit, static_argnames="objective")
def predict(weights: Weights, features: Values, moments: Values, *, objective: Objective) -> Array:
    """What the head predicts for features (n, width); (n, units)."""

    def part(weights: Weights, features: Array, moments: Array) -> Array:
        return objective.outputs(_logits(weights, _standardised(features, moments)))

    outputs: Array = _divided(part, weights, (_WEIGHTS, _COLUMNS, _COLUMNS), Parts())(weights, features, moments)
    return outputs


def _divided(part: Callable[..., Any], weights: Weights, given: Any, returned: Any) -> Callable[..., Any]:
    """Have the cores compute a function, each with its part of the hidden layer; see `_WEIGHTS`."""
    return jax.shard_map(part, mesh=_mesh(len(weights.hidden)), in_specs=given, out_specs=returned)


def _standardised(features: Array, moments: Array) -> Array:
    return (features.astype(jnp.float32) - moments[0]) * moments[1]


def _logits(weights: Weights, inputs: Array) -> Array:
    return top_logits(lax.psum(inputs @ weights.hidden, _WIDTH), *weights[1:])


def top_logits(
    product: Array, bias: Values, outputs: Values, outputs_bias: Values, *, kept: Values | None = None, dropout: Any = 0
) -> Array:
    """The last layer's values before activation, (n, units).

    Args:
        product: (n, 256) of the inputs and the hidden layer.
        bias: of the hidden layer.
        outputs: weights of the last layer.
        outputs_bias: of the last layer.
        kept: (n, 256), what dropout keeps; None: all.
        dropout: share that it does not keep.
    """
    hidden = jax.nn.relu(product + bias)
    if kept is not None:
        hidden = jnp.where(kept, hidden / (1 - dropout), 0)
    return hidden @ outputs + outputs_bias


def _train_part(
    state: State,
    fold: Fold,
    moments: Array,
    batches: Batches,
    kept: Array,
    first: Array,
    rates: Rates,
    *,
    objective: Objective,
) -> tuple[State, Array]:
    """Train one part of the hidden layer, and all of the rest, which is the same in every part."""

    def inputs_of(rows: Array) -> Array:
        return _standardised(fold.features[rows], moments)

    def step(carry: tuple[State, Array, Array, Array], batch: tuple[Any, ...]) -> tuple[Any, None]:
        (state, inputs, product, sums), (number, rows, is_real, kept, next_rows) = carry, batch

        def loss(product: Array, *top: Array) -> tuple[Array, tuple[Array, Array]]:
            logits = top_logits(product, *top, kept=kept, dropout=rates.dropout)
            losses = objective.losses(logits, fold.targets[rows]) * fold.factors[rows] * is_real
            measured = objective.measured(logits, fold.labels[rows]) * is_real
            return losses.sum() / is_real.sum(), (losses.sum(), measured.sum())

        slopes = jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True)
        (of_product, *gradients), counts = slopes(product, *state.weights[1:])
        rate = rates.learning_rate / (1 + rates.decay * number)  # as in older Keras
        # the random initial weights soon lose their effect, as in TensorFlow's ExponentialMovingAverage
        change = 1 - jnp.minimum(rates.average, (2 + number) / (11 + number))
        next_inputs = inputs_of(next_rows)
        hidden, product = _hidden_step(state, inputs, of_product, next_inputs, rate, change)
        rest = [_stepped(*values, rate, change) for values in zip(_columns(state)[1:], gradients, strict=True)]
        return (_from_columns([hidden, *rest]), next_inputs, product, sums + jnp.stack(counts)), None

    rows, is_real = batches
    numbers = first + jnp.arange(len(kept), dtype=jnp.float32)
    inputs = inputs_of(rows[0])
    product = lax.psum(inputs @ state.weights.hidden, _WIDTH)
    steps = (numbers, rows, is_real, kept, jnp.roll(rows, -1, axis=0))  # the last product is not used
    (state, _, _, sums), _ = lax.scan(step, (state, inputs, product, jnp.zeros(2)), steps)
    return state, sums


Column: TypeAlias = tuple[Any, ...]  # the weights, slots and, if used, averages of one variable


def _columns(state: State) -> list[Column]:
    return list(zip(*(part for part in state if part is not None), strict=True))


def _from_columns(columns: list[Column]) -> State:
    weights, slots, *averages = (Weights(*values) for values in zip(*columns, strict=True))
    return State(weights, slots, averages[0] if averages else None)


def _whole(values: Array) -> Array:
    return values


def _replaced(values: Array, changed: Array) -> Array:
    return changed


def _stepped(
    column: Column,
    gradient: Array,
    rate: Array,
    change: Array,
    *,
    taken: Callable[[Array], Array] = _whole,
    put: Callable[[Array, Array], Array] = _replaced,
) -> Column:
    """Apply Keras' RMSprop to one variable, or to the rows of it that `taken` takes and `put` puts back."""
    weights, slots, *averages = column
    # each line reads what the line before has put: XLA would otherwise compute it anew, from a copy of the whole
    slots = put(slots, RHO * taken(slots) + (1 - RHO) * gradient * gradient)
    weights = put(weights, taken(weights) - rate * gradient * lax.rsqrt(taken(slots) + EPSILON))
    averages = [put(average, taken(average) + change * (taken(weights) - taken(average))) for average in averages]
    return weights, slots, *averages


def _hidden_step(
    state: State, inputs: Array, slopes: Array, next_inputs: Array, rate: Array, change: Array
) -> tuple[Column, Array]:
    """Apply a step to the weights of the hidden layer; return them and their product with the next inputs.

    slopes: (size, 256) of the loss, for the product of the inputs and the weights.
    """

    def tile(start: Any, rows: int, column: Column, product: Array) -> tuple[Column, Array]:
        def taken(values: Array, axis: int = 0) -> Array:
            return lax.dynamic_slice_in_dim(values, start, rows, axis)

        def put(values: Array, changed: Array) -> Array:
            return lax.dynamic_update_slice_in_dim(values, changed, start, 0)

        column = _stepped(column, taken(inputs, 1).T @ slopes, rate, change, taken=taken, put=put)
        return column, product + taken(next_inputs, 1) @ taken(column[0])

    column, product = _columns(state)[0], lax.pcast(jnp.zeros_like(slopes), _WIDTH, to="varying")
    width = len(column[0])
    size = ROWS_OF_A_TILE if width * lax.axis_size(_WIDTH) >= WIDE else width
    tiles, rest = divmod(width, size)
    column, product = lax.fori_loop(0, tiles, lambda at, done: tile(at * size, size, *done), (column, product))
    if rest:
        column, product = tile(tiles * size, rest, column, product)
    return column, lax.psum(product, _WIDTH)
