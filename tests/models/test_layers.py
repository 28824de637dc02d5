"""Batch normalization with the fused operation is Keras' own, up to rounding; a saved model does not know of it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lamina.models.layers import compute_in, freeze_norms, fuse_norms
from lamina.models.loading import load_model
from lamina.models.saving import save_model


def network() -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    inner = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.9, name="norm")(inputs), name="backbone")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(inner(inputs)))
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


def trained(built: Any) -> tuple[Any, ...]:
    """Return output, gradients and statistics of a training step."""
    pixels = np.random.default_rng(0).normal(3, 2, (5, 8, 8, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        outputs = built(pixels, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32)[:, 0])
    gradients = tape.gradient(loss, built.trainable_variables)
    return outputs, gradients, [np.array(one) for one in built.non_trainable_variables]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_a_training_step_is_that_of_keras(precision: Any, tolerance: float) -> None:
    plain, fused = network(), network()
    fuse_norms(fused)
    for built in (plain, fused):
        compute_in(built, precision)
    expected, found = trained(plain), trained(fused)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(np.array(one, float), np.array(other, float), rtol=tolerance, atol=tolerance)
    assert any((one != 0).any() and (one != 1).any() for one in found[2]), "statistics have moved"


def test_a_frozen_normalization_keeps_its_statistics() -> None:
    built = network()
    fuse_norms(built)
    freeze_norms(built)
    before = [np.array(weight) for weight in built.non_trainable_variables]
    trained(built)
    for one, other in zip(built.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(np.array(one), other)


def test_a_saved_model_is_one_of_keras(tmp_path: Path) -> None:
    built = network()
    fuse_norms(built)
    save_model(built, tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert "call" not in vars(loaded.get_layer("backbone").get_layer("norm"))
    pixels = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(pixels), built(pixels))
