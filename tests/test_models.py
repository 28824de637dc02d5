"""Every backbone keeps one contract, and any of them makes a whole network."""

import importlib
import inspect
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models.backbones import BACKBONE_LAYER, BACKBONES, backbone, build_extractor, build_trunk, calibrate
from lamina.models.loading import load_model
from lamina.models.networks import build_head, build_network, join
from lamina.models.saving import save_model

PAGE = (Path(__file__).parents[1] / "docs" / "networks.md").read_text()

# built and run in full: our own, and one of each module of keras.applications but that of inception_resnet_v2, whose
# builder takes as long as five others; of the rest only the shapes are computed
RUN = (
    "small_cnn", "mnist_cnn", "lenet5", "resnet20",
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_b0", "inception_v3", "mobilenet",
    "mobilenet_v2", "mobilenet_v3_small", "nasnet_mobile", "resnet50", "resnet50_v2", "vgg16", "vgg19", "xception",
)  # fmt: skip
OWN = [name for name, spec in BACKBONES.items() if spec.module is None]


def extractor(name: str, **change: object) -> Any:
    told = {"weights": "none", "pooling": "avg", "preprocess": "native", "size": BACKBONES[name].smallest, "seed": 1}
    return build_extractor(name, **(told | change))


def pictures(count: int = 4, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


# ---- the table


def test_every_network_of_keras_is_there_and_nothing_else() -> None:
    builders = [name for name, value in vars(keras.applications).items() if inspect.isfunction(value)]
    assert sorted(spec.builder for spec in BACKBONES.values() if spec.module) == sorted(builders)
    for name, spec in BACKBONES.items():
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert name.replace("_", "") == spec.builder.lower().replace("_", "")


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_what_the_table_and_its_page_say(name: str) -> None:
    spec = BACKBONES[name]
    with keras.StatelessScope(initialize_variables=False):  # shapes alone: the largest would take gigabytes
        trunk = build_trunk(spec, spec.smallest)
    keras.utils.clear_session()  # forgets the variables that have no values yet
    assert trunk.output.shape[-1] == spec.width
    assert min(trunk.output.shape[1:3]) >= 1
    assert spec.smallest <= spec.native
    row = f"| `{name}` | {spec.width} | {spec.smallest} | {spec.native} | {trunk.count_params():,} |"
    assert row in PAGE


def test_the_page_names_the_table_in_its_order() -> None:
    assert re.findall(r"^\| `(\w+)` \| \d+ \| \d", PAGE, flags=re.M) == list(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_pixel_less_than_the_smallest_is_refused(name: str) -> None:
    least = BACKBONES[name].smallest
    words = rf"{name} takes pictures of at least {least} pixels; convert\.size is {least - 1}"
    with pytest.raises(UserError, match=words):
        extractor(name, size=least - 1)
    with pytest.raises(UserError, match=words):
        build_network(name, least - 1, 3, dropout=0.0, seed=1)


# ---- features


@pytest.mark.parametrize("name", RUN)
def test_features_follow_from_pixels_and_seed_alone(name: str) -> None:
    """At the smallest size: their shape and type, and that they are what Keras' own functions make of the pixels."""
    spec = BACKBONES[name]
    model, pixels = extractor(name), pictures(8, spec.smallest)
    assert not model.trainable_variables
    before = pixels.copy()
    calibrate(model, pixels)
    features = model(pixels).numpy()
    np.testing.assert_array_equal(pixels, before)
    assert (features.shape, features.dtype) == ((8, spec.width), np.float32)
    assert model.output.shape == (None, spec.width)
    assert np.isfinite(features.astype(np.float16)).all()
    assert np.ptp(features.astype(np.float16), axis=0).max() > 1e-3, "features must survive float16"
    trunk = model.get_layer(BACKBONE_LAYER)
    np.testing.assert_allclose(features, trunk(prepared(name, pixels)).numpy().mean(axis=(1, 2)), rtol=1e-3, atol=1e-5)
    again = extractor(name)
    calibrate(again, pixels)
    np.testing.assert_array_equal(again(pixels).numpy(), features)


def test_statistics_follow_from_the_pictures_alone() -> None:
    """Not from what a network leaves out at random while it learns."""
    model = extractor("efficientnet_v2_b0")
    calibrate(model, pictures(8))
    once = model(pictures()).numpy()
    calibrate(model, pictures(8))
    np.testing.assert_array_equal(model(pictures()).numpy(), once)


def prepared(name: str, pixels: np.ndarray) -> np.ndarray:
    """Pixels as a backbone's own convention has them."""
    spec = BACKBONES[name]
    if spec.module:
        return importlib.import_module(f"keras.applications.{spec.module}").preprocess_input(pixels.copy())
    low, high = {"mnist_cnn": (0, 1), "lenet5": (-0.1, 1.175)}.get(name, (-1, 1))
    return low + pixels / 255 * (high - low)


def test_rescale_divides_by_255() -> None:
    given = (
        extractor("lenet5", preprocess="rescale", size=32).get_layer("input_convention").predict(pictures(), verbose=0)
    )
    np.testing.assert_allclose(given, pictures() / 255, atol=1e-6)


def test_the_seed_decides_a_random_backbone() -> None:
    one, same, other = (extractor("resnet20", seed=seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_saved_model_answers_as_before(tmp_path: Path) -> None:
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


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(UserError, match="unknown backbone 'vgg99'; available: small_cnn, mnist_cnn, "):
        backbone("vgg99")


# ---- whole networks


@pytest.mark.parametrize("name", [*OWN, "mobilenet"])
def test_a_whole_network_gives_probabilities_and_learns_in_all_its_layers(name: str) -> None:
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
    [("lenet5", 32, 61_706), ("mnist_cnn", 28, 220_234), ("resnet20", 32, 271_098), ("small_cnn", 128, 2_197_418)],
)
def test_whole_networks_have_the_parameters_of_their_descriptions(name: str, size: int, parameters: int) -> None:
    assert build_network(name, size, 10, dropout=0.5, seed=1).count_params() == parameters


@pytest.mark.parametrize("name", ["mnist_cnn", "lenet5"])
def test_networks_for_digits_see_luma(name: str) -> None:
    """ITU-R BT.601: a color and its grey are the same to them."""
    model, pixels = extractor(name), pictures(3, 32)
    model = extractor(name, size=32)
    grey = np.repeat((pixels @ [0.2989, 0.587, 0.114])[..., None], 3, axis=-1)
    np.testing.assert_allclose(model(grey).numpy(), model(pixels).numpy(), atol=1e-3)


@pytest.mark.parametrize("name", ["convnext_tiny", "mnist_cnn", "resnet20"])
def test_networks_of_uncommon_layers_come_back_from_their_files(name: str, tmp_path: Path) -> None:
    model = build_network(name, 32, 3, dropout=0.5, seed=1)
    save_model(model, tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(pictures()).numpy(), model(pictures()).numpy())
