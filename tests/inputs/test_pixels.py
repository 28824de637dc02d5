"""Pictures as an input: fresh warps in each epoch, and sides that grow."""

from pathlib import Path

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.inputs.pixels import growing_side
from lamina.models.loading import load_model
from lamina.models.saving import save_model
from lamina.training.learner import TrainingOptions
from lamina.training.settings import GradientNumbers
from systems import NETWORK, NUMBERS, learner_of, write_stripes

GROWING = NETWORK | {"network": "resnet9", "first_size": 16}


def test_fresh_pictures_are_read_as_drawn_and_decide_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_stripes(tmp_path, train=12, validation=4, test=0))
    fresh, planned = learner_of(NETWORK | {"augmentation": "fresh"}), learner_of(NETWORK)
    one, other = fresh.fresh_examples(1, 2), fresh.fresh_examples(2, 2)
    assert len(one) == len(other) == len(planned.train), "all epochs have the same size"
    np.testing.assert_array_equal(one.rows.read([0, 5]), fresh.fresh_examples(1, 2).rows.read([0, 5]))
    assert (one.rows.read([0, 5]) != other.rows.read([0, 5])).mean() > 0.5
    assert (one.rows.read([0]) != planned.train.rows.read([0])).mean() > 0.5, "an original is warped, too"
    assert fresh.digest != planned.digest
    assert planned.fresh_examples(1, 2) is planned.train


def test_the_side_grows_in_four_stages() -> None:
    assert [growing_side(64, 128, epoch, 8) for epoch in range(1, 9)] == [64, 64, 85, 85, 107, 107, 128, 128]
    assert growing_side(24, 32, 1, 1) == 32, "the last epoch has full pictures"
    for epochs in range(2, 50):
        sides = [growing_side(24, 32, epoch, epochs) for epoch in range(1, epochs + 1)]
        assert sides == sorted(sides)
        assert (sides[0], sides[-1]) == (24, 32)


def test_a_network_trains_on_growing_pictures_and_predicts_full_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_stripes(tmp_path, train=12, validation=4, test=0))
    learner = learner_of(GROWING)
    batches = [learner.fresh_examples(epoch, 4)._read(np.arange(2)) for epoch in (1, 2, 3, 4)]
    assert [pixels.shape for pixels, _ in batches] == [(2, side, side, 3) for side in (16, 21, 27, 32)]
    full = learner.train._read(np.arange(2))[0]
    np.testing.assert_array_equal(batches[3][0], full)
    np.testing.assert_allclose(batches[0][0], full.reshape(2, 16, 2, 16, 2, 3).mean(axis=(2, 4)), atol=0.51)
    options = TrainingOptions(epochs=2)  # small pictures, then full ones
    learned = learner.learn_final(GradientNumbers.model_validate(NUMBERS), options)
    save_model(learned.network, tmp_path / "model.keras")
    saved = load_model(tmp_path / "model.keras")
    assert saved.input.shape == (None, 32, 32, 3)
    np.testing.assert_allclose(saved(full), learned.network(full), atol=1e-6)
    assert len(learned.history) == 2


@pytest.mark.parametrize("first", [32, 200])
def test_a_first_side_must_be_smaller_than_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.chdir(write_stripes(tmp_path, train=12, validation=4, test=0))
    with pytest.raises(UserError, match=rf"first_size: resnet9 starts .* convert\.size, which is 32; got {first}$"):
        learner_of(GROWING | {"first_size": first}).build(GradientNumbers.model_validate(NUMBERS))
