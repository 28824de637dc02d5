"""The training loop: when it stops, what it keeps, how it resumes, and what it says when it cannot continue."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fitting import STILL, fit_numbers, random_examples, small_network
from lamina.errors import UserError
from lamina.models.keras_runtime import keras
from lamina.training.checkpoint import Checkpoint, State
from lamina.training.fit import free_memory
from lamina.training.history import DivergedError, kept_row
from lamina.training.trainers import ClassTrainer


@pytest.mark.parametrize("ema_decay", [0.0, 0.8])
def test_training_stops_after_patience_epochs_and_keeps_the_best_weights(ema_decay: float) -> None:
    trainer = ClassTrainer(small_network(), STILL, ema_decay=ema_decay)
    history = fit_numbers(trainer, epochs=200, patience=4)
    losses = [row["validation_loss"] for row in history]
    best = int(np.argmin(losses))
    assert len(history) == best + 1 + 4 < 200
    assert kept_row(history, 4) is history[best]
    loss, correct = random_examples(40, 1).evaluate(trainer, 8)
    assert (loss / 40, correct / 40) == pytest.approx((losses[best], history[best]["validation_accuracy"]), rel=1e-6)


def test_without_patience_the_last_weights_are_kept() -> None:
    trainer = ClassTrainer(small_network(), STILL)
    history = fit_numbers(trainer, epochs=30)
    assert len(history) == 30
    assert kept_row(history, None) is history[-1]
    assert random_examples(40, 1).evaluate(trainer, 8)[0] / 40 == pytest.approx(history[-1]["validation_loss"])
    assert min(row["validation_loss"] for row in history) < history[-1]["validation_loss"]


def test_the_best_epoch_is_one_of_the_last_phase() -> None:
    rows = [{"epoch": e, "validation_loss": loss, "fine_tuning": e > 2} for e, loss in enumerate([3, 1, 5, 4, 6], 1)]
    assert kept_row(rows, 9)["epoch"] == 4


def test_an_interrupted_training_continues_to_the_same_weights(tmp_path: Path) -> None:
    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    def trainer() -> ClassTrainer:
        network = small_network(normalized=True)
        dropout = keras.layers.Dropout(0.5, seed=1)(network.outputs[0])
        out = keras.layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(seed=1))(
            dropout
        )
        return ClassTrainer(keras.Model(network.inputs, out), STILL, ema_decay=0.8)

    whole = trainer()
    expected = fit_numbers(whole, epochs=8, patience=5)
    with pytest.raises(KeyboardInterrupt):
        fit_numbers(trainer(), epochs=8, patience=5, checkpoint=Checkpoint(tmp_path / "x.npz"), on_epoch=stop)
    resumed, rows = trainer(), []
    found = fit_numbers(resumed, epochs=8, patience=5, checkpoint=Checkpoint(tmp_path / "x.npz"), on_epoch=rows.append)
    assert found == expected == rows
    for one, other in zip(resumed.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "x.npz")
    checkpoint.keep(State(history=[{"epoch": 1}], variables=[np.zeros(3)], best=[]))
    with pytest.raises(UserError, match=r"x\.npz: of another network; delete it and run again"):
        fit_numbers(ClassTrainer(small_network(), STILL), epochs=2, checkpoint=checkpoint)


def test_after_an_infinite_loss_the_last_good_weights_are_kept(tmp_path: Path) -> None:
    trainer, checkpoint, good = ClassTrainer(small_network(), STILL), Checkpoint(tmp_path / "x.npz"), []

    def poison(row: dict[str, float]) -> None:
        good[:] = trainer.network.get_weights()
        if row["epoch"] == 3:
            trainer.network.set_weights([weight * np.nan for weight in good])

    with pytest.raises(DivergedError, match=r"in epoch 4; lower learning_rate; the weights of epoch 3 are in .*x\.npz"):
        fit_numbers(trainer, epochs=9, checkpoint=checkpoint, on_epoch=poison)
    saved = checkpoint.load()
    assert [row["epoch"] for row in saved.history] == [1, 2, 3]
    np.testing.assert_array_equal(saved.variables[0], good[0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses memory that it does not have")
def test_a_batch_that_does_not_fit_memory_names_one_that_does() -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1":
        pytest.skip("this machine grants memory that it does not have")
    rows = free_memory() // (8 * 6 * 4)  # an eighth of the memory for each row
    inputs = keras.Input((6,))
    wide = keras.layers.GlobalAveragePooling1D()(keras.layers.RepeatVector(rows)(inputs))
    trainer = ClassTrainer(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(wide)), STILL)
    with pytest.raises(UserError, match=r"batch_size 40 \(a step needs up to .* MiB .*\); lower it: [34] should fit"):
        fit_numbers(trainer, epochs=1, batch_size=40)
