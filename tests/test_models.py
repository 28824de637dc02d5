"""Every backbone keeps one contract; weights come from where they are said to come from."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models.backbones import BACKBONES, backbone, build_extractor, calibrate
from lamina.models.networks import NETWORKS, build_head, join, network
from lamina.models.saving import save_model

# the four that the default system and the references lean on; the others share their builders
CHECKED = ("mobilenet_v2", "vgg16", "resnet50", "densenet121")


def extractor(name: str, **change: object):
    told = {"weights": "none", "pooling": "avg", "preprocess": "own", "size": 32, "seed": 1} | change
    return build_extractor(name, **told)


def pictures(count: int = 4, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize("name", CHECKED)
def test_a_backbone_gives_features_of_its_width(name: str) -> None:
    model = extractor(name)
    assert model.output.shape == (None, BACKBONES[name].width)
    assert not model.trainable_variables
    calibrate(model, pictures(16))
    features = model.predict(pictures(), verbose=0).astype(np.float16)
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() > 1e-3, "features must survive float16"


@pytest.mark.parametrize("name", CHECKED)
def test_the_input_convention_is_the_backbones_own(name: str) -> None:
    import importlib

    reference = importlib.import_module(f"keras.applications.{BACKBONES[name].module}").preprocess_input
    expected = reference(pictures().copy())
    given = extractor(name).get_layer("input_convention").predict(pictures(), verbose=0)
    np.testing.assert_allclose(given, expected, atol=1e-3)


def test_rescale_divides_by_255() -> None:
    given = extractor("resnet50", preprocess="rescale").get_layer("input_convention").predict(pictures(), verbose=0)
    np.testing.assert_allclose(given, pictures() / 255, atol=1e-6)


def test_the_seed_decides_a_random_backbone() -> None:
    one, same, other = (extractor("mobilenet_v2", seed=seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_saved_model_answers_as_before(tmp_path: Path) -> None:
    from lamina.learn.predict import load_model

    body = extractor("mobilenet_v2")
    calibrate(body, pictures(16))
    head = build_head(1280, 3, dropout=0.5, mean=np.zeros(1280), variance=np.ones(1280), seed=1)
    model = join(body, head)
    model.save(tmp_path / "model.keras")
    expected = model.predict(pictures(), verbose=0)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras").predict(pictures(), verbose=0), expected)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)


def test_a_killed_save_leaves_only_what_the_next_one_clears(tmp_path: Path) -> None:
    class Model:
        def save(self, path: Path) -> None:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("config.json", '{"date_saved": "today"}')
            seen.append(sorted(there.name for there in tmp_path.iterdir()))

    seen: list[list[str]] = []
    (tmp_path / ".part-model.keras").write_bytes(b"of a process that was killed")
    save_model(Model(), tmp_path / "model.keras")
    assert seen == [[".part-model.keras"]]
    assert [there.name for there in tmp_path.iterdir()] == ["model.keras"]
    assert zipfile.ZipFile(tmp_path / "model.keras").read("config.json") == b"{}"


def test_weights_of_another_run_are_taken_over(tmp_path: Path) -> None:
    body = extractor("mobilenet_v2", seed=5)
    body.save(tmp_path / "model.keras")
    taken = extractor("mobilenet_v2", weights=str(tmp_path / "model.keras"), seed=6)
    np.testing.assert_array_equal(taken.get_weights()[3], body.get_weights()[3])


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    extractor("vgg16").save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"model\.keras does not fit this backbone"):
        extractor("mobilenet_v2", weights=str(tmp_path / "model.keras"))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a file; expected imagenet, none, or"):
        extractor("mobilenet_v2", weights=str(tmp_path / "nothing.keras"))


WEIGHTS_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"


@pytest.fixture
def keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where Keras looks for weights that it has downloaded before."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_imagenet_weights_come_from_the_cache_of_keras(keras_cache: Path) -> None:
    """The real loading code, over a stand-in of the file that Keras would have downloaded."""
    import h5py
    from keras.applications import mobilenet_v2
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    stand_in = mobilenet_v2.MobileNetV2(include_top=False, weights=None, input_shape=(96, 96, 3))
    with h5py.File(keras_cache / WEIGHTS_FILE, "w") as file:
        save_weights_to_hdf5_group(file, stand_in)
    loaded = extractor("mobilenet_v2", weights="imagenet", size=96, seed=99)
    np.testing.assert_array_equal(loaded.get_weights()[0], stand_in.get_weights()[0])


def test_imagenet_weights_that_cannot_be_had_are_named(keras_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there: as on a machine without a network
    with pytest.raises(UserError, match=f"{WEIGHTS_FILE} is not in {keras_cache} and could not be downloaded; put it"):
        extractor("mobilenet_v2", weights="imagenet", size=96)


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(UserError, match="unknown backbone 'vgg99'; available: densenet121"):
        backbone("vgg99")
    with pytest.raises(UserError, match="unknown network 'big_cnn'; available: small_cnn"):
        network("big_cnn")


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(UserError, match=r"xception takes pictures of at least 71 pixels; convert\.size is 64"):
        extractor("xception", size=64)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_probabilities(name: str) -> None:
    model = NETWORKS[name](32, 5, dropout=0.5, seed=1)
    found = model.predict(pictures(), verbose=0)
    assert found.shape == (4, 5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
