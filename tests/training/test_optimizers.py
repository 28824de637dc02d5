"""Optimizers step as their sources say, with the schedule and the rates of the layers."""

import keras
import numpy as np
import pytest

from lamina.training.optimizers import layer_rates, make_optimizer
from lamina.training.settings import GradientNumbers, Recipe

NUMBERS = GradientNumbers(learning_rate=0.1, dropout=0, decay=0.5)


def network() -> keras.Model:
    """Three layers of one weight and one bias, nested as backbones are."""
    inputs = keras.Input((1,))
    inner = keras.Model(inputs, keras.layers.Dense(1, name="b")(keras.layers.Dense(1, name="a")(inputs)), name="inner")
    return keras.Model(inputs, keras.layers.Dense(1, name="c")(inner(inputs)))


def step(recipe: Recipe, gradient: float = 1.0, *, steps: int = 10, times: int = 1) -> dict[str, list[float]]:
    """Return how far each variable moves in each step, all starting from 1."""
    built = network()
    optimizer = make_optimizer(built, recipe, NUMBERS, steps)
    for variable in built.trainable_variables:
        variable.assign(np.ones(variable.shape))
    moved: dict[str, list[float]] = {variable.path: [] for variable in built.trainable_variables}
    for _ in range(times):
        before = [float(np.ravel(variable)[0]) for variable in built.trainable_variables]
        optimizer.apply([np.full(v.shape, gradient, np.float32) for v in built.trainable_variables])
        for variable, old in zip(built.trainable_variables, before, strict=True):
            moved[variable.path].append(old - float(np.ravel(variable)[0]))
    return moved


def test_the_default_is_rmsprop_with_a_decaying_rate() -> None:
    """Hinton's: gradient / sqrt of the mean of squares, with a mean that starts at 0."""
    found = step(Recipe(), times=2)["c/kernel"]
    first, second = 0.1 / np.sqrt(0.1), 0.1 / 1.5 / np.sqrt(0.19)
    assert found == pytest.approx([first, second], rel=1e-3)


def test_adamw_decays_weights_but_no_biases() -> None:
    found = step(Recipe(optimizer="adamw", weight_decay=0.2))
    assert found["c/kernel"] == pytest.approx([0.1 + 0.1 * 0.2], rel=1e-3)
    assert found["c/bias"] == pytest.approx([0.1], rel=1e-3)


def test_sgd_has_the_momentum_of_nesterov() -> None:
    """Step 1: -rate x (gradient + 0.9 x gradient)."""
    assert step(Recipe(optimizer="sgd"))["c/kernel"] == pytest.approx([0.19], rel=1e-4)


def test_the_cosine_rises_and_falls_to_a_hundredth() -> None:
    recipe = Recipe(optimizer="sgd", schedule="cosine", warmup=0.2)
    optimizer = make_optimizer(network(), recipe, NUMBERS, 100)
    rates = []
    for number in (0, 10, 20, 60, 100):
        optimizer.iterations.assign(number)
        rates.append(float(optimizer.learning_rate))
    assert rates == pytest.approx([0, 0.05, 0.1, 0.0505, 0.001], rel=1e-4, abs=1e-6)


def test_the_first_layer_learns_at_its_share_of_the_rate() -> None:
    found = step(Recipe(optimizer="adamw", first_layer_rate=0.01))
    assert [found[f"{name}/kernel"][0] for name in "abc"] == pytest.approx([0.001, 0.01, 0.1], rel=1e-3)


def test_one_rate_needs_no_table() -> None:
    assert layer_rates(network(), 1.0) == []
