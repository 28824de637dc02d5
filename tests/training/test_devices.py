"""A batch that several (simulated) devices share: the same step as on one device."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models.keras_runtime import tf
from lamina.training.devices import DEVICES, devices

# prints the sums of each step, and the weights that the steps lead to, on one device and on three
TRAINING = """
import json, sys
import numpy as np
from lamina.training.devices import devices
names = devices()
from lamina.models.keras_runtime import keras, tf
from lamina.training.settings import GradientNumbers
from lamina.training.trainers import ClassTrainer

NUMBERS = GradientNumbers(learning_rate=1e-2, dropout=0.0, decay=0.0)

def network(*layers):
    last = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), *layers, *last])

def train(build, names, sizes=(7, 7, 2)):
    keras.utils.set_random_seed(1)
    random, trainer = np.random.default_rng(1), ClassTrainer(build(), NUMBERS, ema_decay=0.5)
    trainer.devices = names
    batches = [(random.normal(size=(n, 8, 8, 3)).astype("float32"), random.integers(0, 3, n)) for n in sizes]
    sums = [[float(value) for value in trainer.train_step(*batch)] for batch in batches]
    graph = trainer._shared_step._list_all_concrete_functions()
    places = {o.device for step in graph for o in step.graph.get_operations() if o.type == "Conv2D"}
    return {"sums": sums, "weights": [w.tolist() for w in trainer.evaluated_weights()], "places": sorted(places)}

def normalized():
    return network(keras.layers.BatchNormalization(momentum=0.5))

def frozen():
    norm = keras.layers.BatchNormalization()
    norm.trainable = False
    return network(norm)

print(json.dumps({
    "names": names,
    "plain": [train(network, names[:1]), train(network, names)],
    "frozen": [train(frozen, names[:1]), train(frozen, names)],
    "normalized": [train(normalized, names[:1], [7]), train(normalized, names, [7])],
}))
"""


@pytest.fixture(scope="module")
def trained() -> dict:
    environment = os.environ | {DEVICES: "3"}
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("network", ["plain", "frozen"])
def test_steps_are_those_of_one_device(trained: dict, network: str) -> None:
    alone, shared = trained[network]
    assert shared["places"] == [f"/device:CPU:{place}" for place in range(3)]
    assert alone["places"] == []
    for one, other in zip([*alone["sums"], *alone["weights"]], [*shared["sums"], *shared["weights"]], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def test_statistics_of_batch_normalization_are_the_mean_of_the_parts(trained: dict) -> None:
    alone, shared = (result["weights"] for result in trained["normalized"])
    np.testing.assert_allclose(shared[4], alone[4], rtol=1e-4, err_msg="the mean of all rows, counted once")


@pytest.mark.parametrize("text", ["0", "65", "two", "-1", "1.5", "²", ""])
def test_a_number_that_is_none_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICES, text)
    with pytest.raises(UserError, match="expected a number of devices from 1 to 64"):
        devices.__wrapped__()


def test_simulating_too_late_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tf.constant(1) + 1
    monkeypatch.setenv(DEVICES, "2")
    with pytest.raises(UserError, match="already in use in this process"):
        devices.__wrapped__()
