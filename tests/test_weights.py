"""Weights come from where they are said to come from, and DVC knows it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from lamina.stages.modules import list_modules
from ruamel.yaml import YAML

from lamina.errors import UserError
from lamina.models.backbones import BACKBONE_LAYER, BACKBONES, build_extractor, build_trunk
from lamina.models.networks import build_network
from lamina.models.saving import save_model

ROOT = Path(__file__).parents[1]


def trunk(name: str, weights: str | Path = "none", *, size: int = 32, seed: int = 1) -> Any:
    told = {"weights": str(weights), "pooling": "avg", "preprocess": "native", "size": size, "seed": seed}
    return build_extractor(name, **told).get_layer(BACKBONE_LAYER)


def assert_same(one: Any, other: Any) -> None:
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def perturbed(network: Any) -> Any:
    """A network whose weights are all other than a fresh one's."""
    random = np.random.default_rng(0)
    network.set_weights([weight + random.random(weight.shape).astype(weight.dtype) for weight in network.get_weights()])
    return network


# ---- of another run


@pytest.mark.parametrize("name", ["small_cnn", "lenet5", "resnet20", "convnext_tiny"])
def test_what_a_whole_network_learned_serves_at_another_size(name: str, tmp_path: Path) -> None:
    whole = perturbed(build_network(name, 32, 3, dropout=0.5, seed=1))
    save_model(whole, tmp_path / "model.keras")
    assert_same(trunk(name, tmp_path / "model.keras", size=48, seed=2), whole.get_layer(BACKBONE_LAYER))


@pytest.mark.parametrize("part", ["the whole model", "the backbone alone"])
def test_a_file_of_weights_serves_as_well(part: str, tmp_path: Path) -> None:
    whole = perturbed(build_network("resnet20", 32, 3, dropout=0.5, seed=1))
    learned = whole.get_layer(BACKBONE_LAYER)
    (whole if part == "the whole model" else learned).save_weights(tmp_path / "some.weights.h5")
    assert_same(trunk("resnet20", tmp_path / "some.weights.h5"), learned)


def test_the_statistics_of_an_inner_normalisation_are_used_not_only_stored(tmp_path: Path) -> None:
    """EfficientNet normalises with copies of the weights that its first layer stores."""
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
    with pytest.raises(UserError, match="is not a file; expected imagenet, none, or"):
        trunk("small_cnn", tmp_path / "nothing.keras")


@pytest.mark.parametrize("name", ["model.keras", "some.weights.h5"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x05\x06" + bytes(18)])
def test_broken_files_are_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"weights: .*{name} cannot be read \(.*\); give a \.keras") as caught:
        trunk("small_cnn", tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_that_a_file_describes_is_built(tmp_path: Path) -> None:
    """Its configuration may say what it will: the numbers come over all the same."""
    save_model(perturbed(build_network("small_cnn", 32, 3, dropout=0.5, seed=1)), tmp_path / "model.keras")
    hostile = {"module": "os", "class_name": "system", "config": {"command": f"touch {tmp_path / 'executed'}"}}
    with zipfile.ZipFile(tmp_path / "model.keras") as file, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
        bad.writestr("config.json", json.dumps(hostile))
        bad.writestr("model.weights.h5", file.read("model.weights.h5"))
    with pytest.raises((TypeError, ValueError)):
        keras.saving.load_model(tmp_path / "bad.keras")
    assert_same(trunk("small_cnn", tmp_path / "bad.keras"), trunk("small_cnn", tmp_path / "model.keras"))
    assert not (tmp_path / "executed").exists()


# ---- ImageNet's


@pytest.fixture
def keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where Keras looks for weights that it has downloaded before, on a machine without a network."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def store(network: Any, path: Path) -> str:
    """A stand-in of a file that Keras would have downloaded, in its form; returns its MD5."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, network)
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("size", "file"), [(96, "1.0_96"), (32, "1.0_224")])
def test_imagenet_weights_come_from_the_cache_of_keras(keras_cache: Path, size: int, file: str) -> None:
    """The real loading code, over a stand-in of the file that Keras would have downloaded."""
    stand_in = perturbed(build_trunk(BACKBONES["mobilenet_v2"], 96))
    store(stand_in, keras_cache / f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{file}_no_top.h5")
    assert_same(trunk("mobilenet_v2", "imagenet", size=size, seed=99), stand_in)


def test_efficientnets_extra_layer_for_imagenet_is_kept_in_its_normalisation(
    keras_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers as the network that Keras builds, though one layer is less, so that other runs can take it."""
    from keras.src.applications import efficientnet

    stand_in = build_trunk(BACKBONES["efficientnet_b0"], 224)
    norm = next(layer for layer in stand_in.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]) ** 2, np.array(0)])
    digest = store(stand_in, keras_cache / "efficientnetb0_notop.h5")
    monkeypatch.setitem(efficientnet.WEIGHTS_HASHES, "b0", ("", digest))
    expected = build_trunk(BACKBONES["efficientnet_b0"], 64, imagenet=True)
    found = trunk("efficientnet_b0", "imagenet", size=64, seed=99)
    assert [layer.name for layer in found.layers if isinstance(layer, keras.layers.Rescaling)] != [
        layer.name for layer in expected.layers if isinstance(layer, keras.layers.Rescaling)
    ]
    pixels = np.random.default_rng(0).random((2, 64, 64, 3)).astype(np.float32) * 255
    np.testing.assert_allclose(found(pixels).numpy(), expected(pixels).numpy(), rtol=1e-3, atol=1e-5)
    assert len(found.get_weights()) == len(trunk("efficientnet_b0").get_weights())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenet_v2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"),
        ("efficientnet_v2_b0", "efficientnetv2-b0_notop.h5"),
        ("nasnet_mobile", "nasnet_mobile_no_top.h5"),
    ],
)
def test_imagenet_weights_that_cannot_be_had_are_named(name: str, file: str, keras_cache: Path) -> None:
    """As the very file that Keras looks for."""
    with pytest.raises(UserError, match=f"{file} is not in {keras_cache} and could not be downloaded; put it"):
        trunk(name, "imagenet", size=96)


# ---- as dependencies


def dvc(system: Path, *command: str) -> str:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(ROOT / "src")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *command], cwd=system, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A system whose pictures are split already, with a run that takes the weights that another learns."""
    system = tmp_path / "system"
    system.mkdir()
    dvc(tmp_path, "init", "--quiet", "--no-scm")
    shutil.copy(ROOT / "dvc.yaml", system)
    params = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    numbers = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}
    weights = "models/tiny/model.keras"
    head = {
        "backbone": "small_cnn",
        "weights": weights,
        "watch": weights,
        "precision": "float32",
        "pooling": "avg",
        "preprocess": "native",
    }
    params |= {
        "code": str(ROOT / "src" / "lamina"),
        "transfer": {"runs": {"head": head | numbers}},
        "scratch": {"runs": {"tiny": {"network": "small_cnn"} | numbers}},
    }
    params["source"] |= {"watch": str(ROOT / "src" / "lamina" / "__init__.py"), "pictures": 40}
    params["convert"]["size"] = 32
    (system / "params.yaml").write_text(json.dumps(params))
    (system / "baselines").mkdir()
    (system / "baselines" / "data.json").write_text("{}\n")
    return system


def prepare(system: Path) -> None:
    """What the stages up to train@tiny would have left, of four pictures."""
    for folder in ("lab", "augmented", "split", "validation"):
        (system / "data" / folder).mkdir(parents=True)
    ids = list("abcd")
    rows = pd.DataFrame({"id": ids, "origin": ids, "label": list("xyxy"), "copy": 0, "fold": "train"})
    rows.to_parquet(system / "data/split/manifest.parquet")
    rows.drop(columns=["copy", "fold"]).to_parquet(system / "data/lab/manifest.parquet")
    still = dict.fromkeys(["angle", "shift_x", "shift_y"], 0.0) | dict.fromkeys(
        ["flip_horizontal", "flip_vertical"], False
    )
    gains = dict.fromkeys(["gain_red", "gain_green", "gain_blue"], 1.0)
    rows.assign(**still, **gains).to_parquet(system / "data/augmented/plan.parquet")
    np.save(system / "data/lab/pixels.npy", np.random.default_rng(0).integers(0, 9000, (4, 32, 32, 3), dtype=np.int16))
    (system / "data/validation/verdict.json").write_text("{}\n")
    list_modules(system / "data/modules")
    learn(system, seed=1)


def learn(system: Path, *, seed: int) -> None:
    """Leave what train@tiny would have learned."""
    (system / "models/tiny").mkdir(parents=True, exist_ok=True)
    save_model(build_network("small_cnn", 32, 2, dropout=0.2, seed=seed), system / "models/tiny/model.keras")


def stages(said: str) -> list[str]:
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


@pytest.mark.parametrize("there", ["models", "../other/models"], ids=["of this system", "of another system"])
def test_the_run_that_learns_the_weights_comes_first(there: str, system: Path) -> None:
    shutil.copytree(system, system.parent / "other")
    text = (system / "params.yaml").read_text()
    (system / "params.yaml").write_text(text.replace('"models/tiny', f'"{there}/tiny'))
    graph = dvc(system, "dag", "--dot", "extract@head")
    first = "train-scratch@tiny" if there == "models" else "../other/dvc.yaml:train-scratch@tiny"
    assert f'"{first}" -> "extract@head"' in graph


def test_other_weights_are_extracted_again_and_the_same_are_not(system: Path) -> None:
    prepare(system)
    repro, features = ("repro", "--single-item", "extract@head"), system / "data/features/head/features.npy"
    assert stages(dvc(system, *repro)) == ["extract@head"]
    before = np.load(features)
    assert (before.shape, before.dtype) == ((4, 128), np.float16)
    learned = system / "models/tiny/model.keras"
    learned.write_bytes(learned.read_bytes())
    assert stages(dvc(system, *repro)) == []
    learn(system, seed=2)
    assert stages(dvc(system, *repro)) == ["extract@head"]
    assert (np.load(features) != before).any()
