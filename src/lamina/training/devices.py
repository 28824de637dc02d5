"""Several devices of one machine that share each batch of a training (data parallelism).

Keras' own distribution API trains on its JAX backend alone; this is the same for TensorFlow.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

from lamina.errors import UserError
from lamina.models.keras_runtime import tf

DEVICES: Final = "LAMINA_DEVICES"  # the environment variable: how many


@cache
def devices() -> tuple[str, ...]:
    """Return the names of the devices that share each batch, the first of which holds the weights.

    They are as many GPUs as `LAMINA_DEVICES` says, by default one. On a machine without a GPU they are simulated: they
    share its cores, so that a training on several devices can be tried, but is not faster.

    Raises:
        UserError: There are fewer GPUs; the variable is not a number from 1 to 64; TensorFlow already computed
            something, so that it is too late to simulate devices.
    """
    text = os.environ.get(DEVICES, "1")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise UserError(f"{DEVICES}: expected a number of devices from 1 to 64, got {text!r}")
    count, found = int(text), len(tf.config.list_physical_devices("GPU"))
    if count == 1:
        return (f"/{'GPU' if found else 'CPU'}:0",)
    if found and count > found:
        raise UserError(f"{DEVICES}: expected at most {found}, the number of GPUs here, got {count}; lower it")
    if not found:
        _simulate(count)
    return tuple(f"/{'GPU' if found else 'CPU'}:{place}" for place in range(count))


def _simulate(count: int) -> None:
    try:
        simulated = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], simulated)
    except RuntimeError:
        raise UserError(
            f"{DEVICES}: TensorFlow is already in use in this process; set it before anything is computed"
        ) from None


def share_out(
    compute: Callable[..., tuple[Any, Any]], batch: Any, names: Sequence[str], statistics: Sequence[Any]
) -> tuple[Any, Any]:
    """Compute a batch in parts of about the same number of rows, each on a device.

    Args:
        compute: from a part to its means and its sums, two sequences of tensors; None where there is no gradient.
        batch: structure of tensors (n, ...), with n not below the number of devices.
        names: of the devices.
        statistics: variables that `compute` moves on its way, such as those of batch normalization: each part starts
            from their values, and in the end they are the mean of all parts.

    Returns:
        Means and sums of the whole batch.
    """
    count = tf.shape(tf.nest.flatten(batch)[0])[0]
    bounds = [count * place // len(names) for place in range(len(names) + 1)]
    before = [tf.identity(variable) for variable in statistics]
    means, sums, shares = [], [], []
    for name, (start, end) in zip(names, pairwise(bounds), strict=True):
        with tf.device(name):
            part = tf.nest.map_structure(lambda rows, start=start, end=end: rows[start:end], batch)
            part_means, part_sums = compute(*part)
        means.append([*part_means, *(tf.identity(variable) for variable in statistics)])
        sums.append(part_sums)
        shares.append(tf.cast(end - start, tf.float32) / tf.cast(count, tf.float32))
        _assign(statistics, before)
    averages = [_mean(parts, shares) for parts in zip(*means, strict=True)]
    end = len(averages) - len(statistics)
    _assign(statistics, averages[end:])
    return averages[:end], [tf.add_n(parts) for parts in zip(*sums, strict=True)]


def _mean(parts: Sequence[Any], shares: Sequence[Any]) -> Any:
    """The mean of the parts of a batch; None of gradients that are not there."""
    if any(part is None for part in parts):
        return None
    return tf.add_n([share * tf.convert_to_tensor(part) for part, share in zip(parts, shares, strict=True)])


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
