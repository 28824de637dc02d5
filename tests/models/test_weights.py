"""Weights of other runs: any file that holds the same layers fits, and nothing in a file is executed."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models.backbones import BACKBONE_LAYER, build_extractor
from lamina.models.networks import build_network
from lamina.models.saving import save_model


def trunk(name: str, weights: str | Path = "weights/random", *, size: int = 32, seed: int = 1) -> Any:
    given = {"weights": str(weights), "pooling": "avg", "preprocess": "native", "size": size, "seed": seed}
    return build_extractor(name, **given).get_layer(BACKBONE_LAYER)


def assert_same(one: Any, other: Any) -> None:
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def perturbed(network: Any) -> Any:
    """Change all weights of a network."""
    random = np.random.default_rng(0)
    network.set_weights([weight + random.random(weight.shape).astype(weight.dtype) for weight in network.get_weights()])
    return network


@pytest.mark.parametrize(
    "name", ["small_cnn", "lenet5", "resnet20", pytest.param("convnext_tiny", marks=pytest.mark.nightly)]
)
def test_the_backbone_of_a_whole_network_fits_another_size(name: str, tmp_path: Path) -> None:
    whole = perturbed(build_network(name, 32, 3, dropout=0.5, seed=1))
    save_model(whole, tmp_path / "model.keras")
    assert_same(trunk(name, tmp_path / "model.keras", size=48, seed=2), whole.get_layer(BACKBONE_LAYER))


@pytest.mark.parametrize("part", ["the whole model", "the backbone alone"])
def test_a_file_of_weights_alone_fits_as_well(part: str, tmp_path: Path) -> None:
    whole = perturbed(build_network("resnet20", 32, 3, dropout=0.5, seed=1))
    learned = whole.get_layer(BACKBONE_LAYER)
    (whole if part == "the whole model" else learned).save_weights(tmp_path / "some.weights.h5")
    assert_same(trunk("resnet20", tmp_path / "some.weights.h5"), learned)


@pytest.mark.nightly
def test_the_statistics_of_an_inner_normalization_are_used_not_only_stored(tmp_path: Path) -> None:
    """EfficientNet normalizes with copies of the weights that its first layer stores."""
    learned = trunk("efficientnet_b0")
    norm = next(layer for layer in learned.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3]), np.array(0)])
    norm.finalize_state()
    learned.save(tmp_path / "learned.keras")
    pixels = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32) * 255
    taken = trunk("efficientnet_b0", tmp_path / "learned.keras", seed=2)
    np.testing.assert_allclose(taken(pixels).numpy(), learned(pixels).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("small_cnn", r"layer stem_conv: expected shape \(3, 3, 3, 16\), found \(3, 3, 3, 16\) \+ \(16,\)"),
        ("lenet5", r"layer stem_conv: expected shape \(3, 3, 3, 16\), found \(5, 5, 1, 6\) \+ \(6,\)"),
        ("mobilenet", r"layer stem_conv: expected shape \(3, 3, 3, 16\), found \(3, 3, 3, 32\)"),
    ],
)
def test_the_first_layer_that_differs_is_named(stored: str, words: str, tmp_path: Path) -> None:
    trunk(stored).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=rf"model\.keras does not fit this network: {words}; give that of one like it$"):
        trunk("resnet20", tmp_path / "model.keras")


def test_layers_too_few_or_too_many_are_named(tmp_path: Path) -> None:
    pixels = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(16, 3, padding="same", name="first")(pixels)
    keras.Model(pixels, maps).save_weights(tmp_path / "few.weights.h5")
    with pytest.raises(UserError, match=r"layer conv2 of shape \(3, 3, 16, 32\) \+ \(32,\) is not in it"):
        trunk("small_cnn", tmp_path / "few.weights.h5")
    for filters in (32, 64, 128, 256):
        maps = keras.layers.Conv2D(filters, 3, name=f"then_{filters}")(maps)
    keras.Model(pixels, maps).save_weights(tmp_path / "many.weights.h5")
    with pytest.raises(UserError, match=r"its layer then_256 of shape .* is none of this network"):
        trunk("small_cnn", tmp_path / "many.weights.h5")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"nothing\.keras is not there; expected weights/random, weights/imagenet/NAME\.weights\.h5, or a \.keras",
    ):
        trunk("small_cnn", tmp_path / "nothing.keras")


def damaged() -> bytes:
    """An archive whose compressed weights have other bytes than they had."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(range(256)) * 9)
    content = file.getvalue()
    return content[:60] + bytes([255]) * 20 + content[80:]


@pytest.mark.parametrize("name", ["model.keras", "some.weights.h5"])
@pytest.mark.parametrize(
    "content",
    [b"", b"nothing of the kind", b"PK\x05\x06" + bytes(18), damaged()],
    ids=["0", "text", "empty", "damaged"],
)
def test_broken_files_are_reported_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"weights: .*{name} cannot be read \(.*\); give a \.keras") as caught:
        trunk("small_cnn", tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_the_configuration_in_a_file_is_not_built(tmp_path: Path) -> None:
    """Only the numbers are read."""
    save_model(perturbed(build_network("small_cnn", 32, 3, dropout=0.5, seed=1)), tmp_path / "model.keras")
    hostile = {"module": "os", "class_name": "system", "config": {"command": f"touch {tmp_path / 'executed'}"}}
    with zipfile.ZipFile(tmp_path / "model.keras") as file, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
        bad.writestr("config.json", json.dumps(hostile))
        bad.writestr("model.weights.h5", file.read("model.weights.h5"))
    with pytest.raises((TypeError, ValueError)):
        keras.saving.load_model(tmp_path / "bad.keras")
    assert_same(trunk("small_cnn", tmp_path / "bad.keras"), trunk("small_cnn", tmp_path / "model.keras"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["densenet121", "my.net"])
def test_missing_published_weights_name_the_stage_that_fetches_them(name: str) -> None:
    path = f"weights/imagenet/{name}.weights.h5"
    with pytest.raises(
        UserError, match=rf"{name}\.weights\.h5 is not there; list {name} under weights\.imagenet, then"
    ):
        trunk("small_cnn", path)
