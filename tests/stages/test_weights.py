"""The stage `weights`: published weights are fetched once, features and runs load them, and DVC knows the way."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from ruamel.yaml import YAML

from checkout import ROOT
from lamina.config import validated
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.inputs.extraction import make_extractor
from lamina.inputs.features import FeaturesSettings
from lamina.inputs.index import input_facts, read_split
from lamina.models.backbones import BACKBONE_LAYER, BACKBONES, build_extractor, build_trunk, fetch_weights
from lamina.models.networks import build_network
from lamina.models.saving import save_model
from lamina.stages.extract import extract_features
from lamina.stages.weights import WeightsConfig, weights
from systems import FEATURES, HEAD, NETWORK, write_stripes

MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


def trunk(name: str, path: str | Path = "weights/random", *, size: int = 32, seed: int = 1) -> Any:
    given = {"weights": str(path), "pooling": "avg", "preprocess": "native", "size": size, "seed": seed}
    return build_extractor(name, **given).get_layer(BACKBONE_LAYER)


def assert_same(one: Any, other: Any) -> None:
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def perturbed(network: Any) -> Any:
    """Change all weights of a network."""
    random = np.random.default_rng(0)
    network.set_weights([weight + random.random(weight.shape).astype(weight.dtype) for weight in network.get_weights()])
    return network


@pytest.fixture
def keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which Keras looks for weights that it has downloaded, on a machine without a network."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def store(network: Any, path: Path) -> str:
    """Write a stand-in for a file that Keras would download, in its format; return its MD5."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, network)
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A stand-in for the published MobileNetV2, and its file."""
    network, path = perturbed(build_trunk(BACKBONES["mobilenet_v2"], 96)), tmp_path_factory.mktemp("stored") / MOBILENET
    store(network, path)
    return network, path


@pytest.fixture
def mobilenet(stored: tuple[Any, Path], keras_cache: Path) -> Any:
    """The stand-in, in the cache."""
    shutil.copy(stored[1], keras_cache)
    return stored[0]


# ---- fetching


@pytest.mark.nightly
def test_published_weights_are_fetched_for_backbones_of_any_size(mobilenet: Any, tmp_path: Path) -> None:
    """The real code of Keras loads the stand-in."""
    found = weights(WeightsConfig(imagenet=("mobilenet_v2",)), tmp_path / "weights")
    assert str(found).startswith("weights: random, and 1 published\nimagenet/mobilenet_v2: ")
    assert sorted(path.name for path in (tmp_path / "weights").rglob("*") if path.is_file()) == [
        "mobilenet_v2.weights.h5", "random",
    ]  # fmt: skip
    path = tmp_path / "weights" / "imagenet" / "mobilenet_v2.weights.h5"
    for size in (32, 96):
        assert_same(trunk("mobilenet_v2", path, size=size, seed=99), mobilenet)


def test_features_load_published_weights(mobilenet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_stripes(tmp_path / "system", train=4, validation=2, test=2))
    weights(WeightsConfig(imagenet=("mobilenet_v2",)), Path("weights"))
    path = "weights/imagenet/mobilenet_v2.weights.h5"
    settings = FeaturesSettings.model_validate(FEATURES | {"backbone": "mobilenet_v2", "weights": path})
    extractor = make_extractor(settings, read_split(Folders()), Folders(), seed=1)
    assert_same(extractor.get_layer(BACKBONE_LAYER), mobilenet)


def test_features_know_where_their_weights_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the record of the runs over them."""
    monkeypatch.chdir(write_stripes(tmp_path / "system", train=4, validation=2, test=2))
    path, facts = Path("small.weights.h5"), {"source": "some package 1.0", "license": "MIT"}
    trunk("small_cnn").save_weights(path)
    with h5py.File(path, "r+") as file:
        file.attrs.update(facts)
    for number, (weights_path, expected) in enumerate(((path, {"weights": facts}), ("weights/random", {}))):
        settings = FeaturesSettings.model_validate(FEATURES | {"weights": str(weights_path)})
        out = Path("data/features") / f"small{number}"
        extract_features(settings, Folders(), out, seed=1)
        assert input_facts(out) == expected


@pytest.mark.nightly
def test_a_network_trains_from_published_weights(mobilenet: Any, tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_v2.weights.h5"
    fetch_weights("imagenet", "mobilenet_v2", path)
    network = build_network("mobilenet_v2", 32, 3, weights=str(path), dropout=0.5, seed=1)
    assert_same(network.get_layer(BACKBONE_LAYER), mobilenet)
    assert network.get_layer(BACKBONE_LAYER).trainable_variables


@pytest.mark.nightly
def test_the_same_weights_are_the_same_bytes(mobilenet: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        keras.backend.clear_session()  # as in a process of its own: layers are counted from the first again
        fetch_weights("imagenet", "mobilenet_v2", tmp_path / f"{name}.weights.h5")
    assert (tmp_path / "one.weights.h5").read_bytes() == (tmp_path / "two.weights.h5").read_bytes()


def test_license_and_training_data_are_printed_before_the_weights_are_fetched(
    keras_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are there even if the weights are not."""
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for kind, name, license, trained_on in (
        ("imagenet", "mobilenet_v2", "Apache-2.0 (Keras; ", "ImageNet (ILSVRC 2012), 1,000 classes, whose pictures"),
        ("imagenet", "efficientnet_lite0", "Apache-2.0; ", "ImageNet (ILSVRC 2012), 1,000 classes, whose pictures"),
        ("edges", "vgg16", "MIT; ", "edges of BSDS500, after a start from ImageNet, whose pictures"),
    ):
        with pytest.raises(UserError):
            weights(WeightsConfig.model_validate({kind: (name,)}), tmp_path / "weights")
        (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith(f"{kind}/{name}: ")]
        assert line.startswith(f"{kind}/{name}: license {license}")
        assert f"; trained on {trained_on} are for non-commercial research; reference: " in line


def test_source_and_digest_are_printed_after_it(mobilenet: Any, tmp_path: Path) -> None:
    found = weights(WeightsConfig(imagenet=("mobilenet_v2",)), tmp_path / "weights")
    digest = hashlib.sha256((tmp_path / "weights/imagenet/mobilenet_v2.weights.h5").read_bytes()).hexdigest()
    assert str(found).splitlines()[1:] == [f"imagenet/mobilenet_v2: from keras.applications; SHA-256 {digest}"]


def test_without_a_list_there_are_random_weights_alone(tmp_path: Path) -> None:
    assert str(weights(WeightsConfig(), tmp_path / "weights")) == "weights: random, and 0 published"
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["random"]


@pytest.mark.nightly
def test_the_extra_layer_of_efficientnet_is_merged_into_its_normalization(
    keras_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same outputs as the network that Keras builds, with one layer less, so that other runs can take it."""
    from keras.src.applications import efficientnet

    stand_in = build_trunk(BACKBONES["efficientnet_b0"], 224)
    norm = next(layer for layer in stand_in.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]) ** 2, np.array(0)])
    digest = store(stand_in, keras_cache / "efficientnetb0_notop.h5")
    monkeypatch.setitem(efficientnet.WEIGHTS_HASHES, "b0", ("", digest))
    expected = build_trunk(BACKBONES["efficientnet_b0"], 64, imagenet=True)
    path = tmp_path / "efficientnet_b0.weights.h5"
    fetch_weights("imagenet", "efficientnet_b0", path)
    found = trunk("efficientnet_b0", path, size=64, seed=99)
    scales = [[x.name for x in one.layers if isinstance(x, keras.layers.Rescaling)] for one in (found, expected)]
    assert len(scales[0]) == len(scales[1]) - 1
    pixels = np.random.default_rng(0).random((2, 64, 64, 3)).astype(np.float32) * 255
    np.testing.assert_allclose(found(pixels).numpy(), expected(pixels).numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenet_v2", MOBILENET),
        ("efficientnet_v2_b0", "efficientnetv2-b0_notop.h5"),
        pytest.param("nasnet_mobile", "nasnet_mobile_no_top.h5", marks=pytest.mark.nightly),
    ],
)
def test_weights_that_cannot_be_fetched_name_the_file(name: str, file: str, keras_cache: Path, tmp_path: Path) -> None:
    """The file that Keras looks for; and what was there before stays."""
    out = tmp_path / "weights"
    weights(WeightsConfig(), out)
    with pytest.raises(UserError, match=rf"{file} is not in {keras_cache} and could not be downloaded; put it there"):
        weights(WeightsConfig(imagenet=(name,)), out)
    assert [path.name for path in out.iterdir()] == ["random"]


def test_our_own_networks_have_no_published_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights\.imagenet: there are none for resnet20; take it from the list"):
        fetch_weights("imagenet", "resnet20", tmp_path / "x.weights.h5")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            {"imagenet": ["densnet121"]},
            r"weights\.imagenet\.0: unknown network 'densnet121'; did you mean 'densenet121'",
        ),
        ({"imagenet": "densenet121"}, r"weights\.imagenet: "),
        ({"imagnet": []}, r"unknown key 'weights\.imagnet'; did you mean 'weights\.imagenet'"),
    ],
    ids=str,
)
def test_a_bad_list_is_refused_with_its_place(section: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        validated(section, "weights", WeightsConfig)


def test_a_list_of_yaml_is_accepted() -> None:
    assert validated({"imagenet": ["densenet121"]}, "weights", WeightsConfig).imagenet == ("densenet121",)


# ---- as dependencies


def dvc(system: Path, *command: str) -> str:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "LAMINA_WARM": "0", "PYTHONPATH": str(ROOT / "src")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *command], cwd=system, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with features that take the weights that another run learns, in a repository of DVC."""
    system = tmp_path_factory.mktemp("made") / "system"
    system.mkdir()
    dvc(system.parent, "init", "--quiet", "--no-scm")
    shutil.copy(ROOT / "dvc.yaml", system)
    params = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    params |= {
        "features": {"small": FEATURES | {"weights": "models/tiny/model.keras"}},
        "runs": {"head": HEAD | {"epochs": 1}, "tiny": NETWORK | {"epochs": 1}},
    }
    params["convert"]["size"], params["weights"] = 32, {}
    (system / "params.yaml").write_text(json.dumps(params))
    (system / "baselines").mkdir()
    (system / "baselines" / "data.json").write_text("{}\n")
    return system


@pytest.fixture
def system(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(made.parent, tmp_path / "repository") / "system"


def prepare(system: Path) -> None:
    """Write what the stages up to train@tiny would leave, of four pictures."""
    write_stripes(system, train=4, validation=0, test=0)
    (system / "data/validation").mkdir()
    (system / "data/validation/verdict.json").write_text("{}\n")
    (system / "data/code").mkdir()
    (system / "data/code/extract.txt").touch()
    learn(system, seed=1)


def learn(system: Path, *, seed: int) -> None:
    """Write what train@tiny would learn."""
    (system / "models/tiny").mkdir(parents=True, exist_ok=True)
    save_model(build_network("small_cnn", 32, 2, dropout=0.2, seed=seed), system / "models/tiny/model.keras")


def stages(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.mark.parametrize("there", ["models", "../other/models"], ids=["of this system", "of another system"])
def test_the_run_that_learns_the_weights_comes_first(there: str, system: Path) -> None:
    shutil.copytree(system, system.parent / "other")
    text = (system / "params.yaml").read_text()
    (system / "params.yaml").write_text(text.replace('"models/tiny', f'"{there}/tiny'))
    graph = dvc(system, "dag", "--dot", "extract@small")
    first = "train@tiny" if there == "models" else "../other/dvc.yaml:train@tiny"
    assert f'"{first}" -> "extract@small"' in graph


def test_the_stage_weights_comes_before_what_starts_from_it(system: Path) -> None:
    graph = dvc(system, "dag", "--dot")
    assert '"weights" -> "train@tiny"' in graph
    path = "weights/imagenet/mobilenet_v2.weights.h5"
    text = (system / "params.yaml").read_text().replace("models/tiny/model.keras", path)
    (system / "params.yaml").write_text(text)
    assert '"weights" -> "extract@small"' in dvc(system, "dag", "--dot", "extract@small")


def test_changed_weights_are_extracted_again_and_unchanged_ones_are_not(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(system)
    repro, features = ("repro", "--single-item", "extract@small"), system / "data/features/small/features.npy"
    monkeypatch.chdir(system)
    settings = FeaturesSettings.model_validate(FEATURES | {"weights": "models/tiny/model.keras"})
    extract_features(settings, Folders(), features.parent, seed=1)
    dvc(system, "commit", "--force", "extract@small")  # as `dvc repro` leaves it
    before = np.load(features)
    assert (before.shape, before.dtype) == ((8, 128), np.float16)
    learned = system / "models/tiny/model.keras"
    learned.write_bytes(learned.read_bytes())
    assert stages(dvc(system, *repro)) == []
    learn(system, seed=2)
    assert stages(dvc(system, *repro)) == ["extract@small"]
    assert (np.load(features) != before).any()
