"""Ensembles: the mean of the probabilities of complete models, and a model like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.models.averaging import average, members_of
from lamina.models.divided import Divided
from lamina.models.loading import load_model
from lamina.models.networks import build_network
from lamina.models.saliency import Saliency
from lamina.models.saving import save_model
from lamina.models.views import Views, with_views

SIZE = 16
WHICH = np.array([[0, 1], [2, 0], [1, 2]])


def network(seed: int, views: Views = 1) -> Any:
    return with_views(build_network("small_cnn", SIZE, 3, dropout=0.2, seed=seed), views)


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def ensemble() -> Any:
    return average({"a": network(1), "b-2": network(2, views=4), "rgb": network(3)})


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save_model(ensemble(), path)
    return load_model(path)


def test_probabilities_are_the_mean_of_those_of_the_members(loaded: Any) -> None:
    found = [network(1), network(2, views=4), network(3)]
    mean = np.mean([one(pictures()).numpy() for one in found], axis=0)
    np.testing.assert_allclose(loaded(pictures()).numpy(), mean, atol=1e-6)
    assert loaded.count_params() == sum(one.count_params() for one in found)


def test_the_same_members_are_saved_as_the_same_bytes(tmp_path: Path) -> None:
    save_model(network(1), tmp_path / "a.keras")
    save_model(network(2, views=4), tmp_path / "b.keras")
    for name in ("one.keras", "two.keras"):
        save_model(average({run: load_model(tmp_path / f"{run}.keras") for run in "ab"}), tmp_path / name)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_a_saved_ensemble_knows_its_members_in_their_order(loaded: Any) -> None:
    assert [member.name for member in members_of(loaded)] == ["run_a", "run_b-2", "run_rgb"]
    alone = network(1)
    assert members_of(alone) == [alone]
    views = network(1, views=2)
    assert members_of(views) == [views]


def test_saliency_is_the_mean_of_that_of_the_members(loaded: Any) -> None:
    divided = Divided(loaded)
    np.testing.assert_allclose(divided.outputs(pictures()), loaded(pictures()).numpy(), atol=1e-6)
    each = [Saliency(Divided(one)).shares(pictures(), WHICH) for one in (network(1), network(2), network(3))]
    np.testing.assert_allclose(Saliency(divided).shares(pictures(), WHICH), np.mean(each, axis=0), atol=1e-6)


def test_saliency_of_other_resolutions_is_summed_over_places() -> None:
    """A network with one place in its last map: the other's places are added up."""
    coarse, fine = build_network("small_cnn", SIZE, 3, dropout=0.2, seed=1), flat_network()
    maps = [Saliency(Divided(one)).shares(pictures(), WHICH) for one in (coarse, fine)]
    assert maps[0].shape[2:] < maps[1].shape[2:]
    found = Saliency(Divided(average({"coarse": coarse, "fine": fine}))).shares(pictures(), WHICH)
    assert found.shape == maps[0].shape
    np.testing.assert_allclose(found.sum((2, 3)), np.mean([one.sum((2, 3)) for one in maps], axis=0), atol=1e-5)


def flat_network() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    pixels = keras.Input((SIZE, SIZE, 3), name="rgb")
    maps = keras.layers.Conv2D(4, 3, strides=2, padding="same")(keras.layers.Rescaling(1 / 255)(pixels))
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    return keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(pooled), name="flat")
