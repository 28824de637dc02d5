"""Whole networks, and heads joined to backbones: what they give, and that they come back from their files."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from lamina.models.backbones import BACKBONE_LAYER, BACKBONES, build_extractor, calibrate
from lamina.models.loading import load_model
from lamina.models.networks import build_head, build_network, join
from lamina.models.saving import save_model
from nightly import DEEPER, by_time

OWN = [name for name, spec in BACKBONES.items() if spec.module is None]


def pictures(count: int = 4, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize("name", by_time([*OWN, "mobilenet"], {*OWN, "mobilenet"} - {*DEEPER}))
def test_a_network_gives_probabilities_and_all_its_layers_learn(name: str) -> None:
    model = build_network(name, 32, 5, dropout=0.5, seed=1)
    found = model(pictures()).numpy()
    assert found.shape == (4, 5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    trunk = model.get_layer(BACKBONE_LAYER)
    assert trunk.trainable_variables
    assert {id(variable) for variable in trunk.trainable_variables} <= {id(v) for v in model.trainable_variables}
    same = build_network(name, 32, 5, dropout=0.5, seed=1)
    np.testing.assert_array_equal(same(pictures()).numpy(), found)


# LeCun et al. 1998 count 60,000 where C3 sees some of S2's maps, with all these; He et al. 2016, table 6: 0.27 million
@pytest.mark.parametrize(
    ("name", "size", "parameters"),
    [
        ("lenet5", 32, 61_706),
        ("mnist_cnn", 28, 220_234),
        ("resnet9", 32, 414_074),
        ("resnet20", 32, 271_098),
        ("small_cnn", 128, 2_197_418),
    ],
)
def test_networks_have_the_parameters_of_their_descriptions(name: str, size: int, parameters: int) -> None:
    assert build_network(name, size, 10, dropout=0.5, seed=1).count_params() == parameters


@pytest.mark.parametrize("name", by_time(["convnext_tiny", "mnist_cnn", "resnet20"], ["mnist_cnn", "resnet20"]))
def test_networks_with_uncommon_layers_load_from_their_files(name: str, tmp_path: Path) -> None:
    model = build_network(name, 32, 3, dropout=0.5, seed=1)
    save_model(model, tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(pictures()).numpy(), model(pictures()).numpy())


# ---- files


@pytest.mark.parametrize("name", by_time(["resnet20", "mobilenet_v2"], ["resnet20"]))
def test_a_loaded_model_predicts_the_same(name: str, tmp_path: Path) -> None:
    given = {"weights": "weights/random", "pooling": "avg", "preprocess": "native", "seed": 1}
    body = build_extractor(name, size=32, **given)
    calibrate(body, pictures(16))
    width = body.output_shape[-1]
    head = build_head(width, 3, dropout=0.5, mean=np.zeros(width), variance=np.ones(width), seed=1)
    model = join(body, head)
    model.save(tmp_path / "model.keras")
    expected = model.predict(pictures(), verbose=0)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras").predict(pictures(), verbose=0), expected)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    class Model:
        def save(self, path: Path) -> None:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("config.json", '{"date_saved": "today"}')
            seen.append(sorted(there.name for there in tmp_path.glob(".part-*/*")))

    seen: list[list[str]] = []
    left = tmp_path / ".part-1-of_a_process_that_was_killed"
    left.mkdir()
    for name in ("lock", "half"):
        (left / name).touch()
    save_model(Model(), tmp_path / "model.keras")
    assert seen == [["lock", "model.keras"]]
    assert [there.name for there in tmp_path.iterdir()] == ["model.keras"]
    assert zipfile.ZipFile(tmp_path / "model.keras").read("config.json") == b"{}"
