"""Every backbone meets one contract."""

import importlib
import inspect
import re
from typing import Any

import keras
import numpy as np
import pytest

from checkout import ROOT
from lamina.errors import UserError
from lamina.models.backbones import BACKBONE_LAYER, BACKBONES, backbone, build_extractor, build_trunk, calibrate
from lamina.models.networks import build_network
from nightly import by_time

PAGE = (ROOT / "docs" / "networks.md").read_text()

# built and run in full: our own, and one of each module of keras.applications but that of inception_resnet_v2, whose
# builder takes as long as five others; of the rest only the shapes are computed
# of every input convention some; NASNet, ResNetV2 and Xception, which are slow to build, have that of Inception
RUN = (
    "small_cnn", "mnist_cnn", "lenet5", "resnet9", "resnet20",
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_b0", "inception_v3", "mobilenet",
    "mobilenet_v2", "mobilenet_v3_small", "resnet50", "vgg16", "vgg19",
)  # fmt: skip
# every input convention but that of DenseNet, which is slow to build
QUICK = ("small_cnn", "mnist_cnn", "lenet5", "resnet9", "resnet20", "mobilenet")


def extractor(name: str, **change: object) -> Any:
    given = {
        "weights": "weights/random",
        "pooling": "avg",
        "preprocess": "native",
        "size": BACKBONES[name].smallest,
        "seed": 1,
    }
    return build_extractor(name, **(given | change))


def pictures(count: int = 4, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


# ---- the table


def test_every_network_of_keras_is_there_and_nothing_else() -> None:
    builders = [name for name, value in vars(keras.applications).items() if inspect.isfunction(value)]
    assert sorted(spec.builder for spec in BACKBONES.values() if spec.module) == sorted(builders)
    for name, spec in BACKBONES.items():
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert name.replace("_", "") == spec.builder.lower().replace("_", "")


@pytest.mark.parametrize("name", by_time(BACKBONES, RUN))
def test_a_backbone_is_as_the_table_and_the_page_describe(name: str) -> None:
    spec = BACKBONES[name]
    with keras.StatelessScope(initialize_variables=False):  # shapes alone: the largest would take gigabytes
        trunk = build_trunk(spec, spec.smallest)
    keras.utils.clear_session()  # forgets the variables without values
    assert trunk.output.shape[-1] == spec.width
    assert min(trunk.output.shape[1:3]) >= 1
    assert spec.smallest <= spec.native
    row = f"| `{name}` | {spec.width} | {spec.smallest} | {spec.native} | {trunk.count_params():,} |"
    assert row in PAGE


def test_the_page_lists_the_table_in_its_order() -> None:
    assert re.findall(r"^\| `(\w+)` \| \d+ \| \d", PAGE, flags=re.M) == list(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_smaller_pictures_than_the_smallest_are_refused(name: str) -> None:
    least = BACKBONES[name].smallest
    words = rf"{name} takes pictures of at least {least} pixels; convert\.size is {least - 1}"
    with pytest.raises(UserError, match=words):
        extractor(name, size=least - 1)
    with pytest.raises(UserError, match=words):
        build_network(name, least - 1, 3, dropout=0.0, seed=1)


# ---- features


@pytest.mark.parametrize("name", by_time(RUN, QUICK))
def test_features_follow_from_pixels_and_seed_alone(name: str) -> None:
    """At the smallest size: their shape and type, and the same values as from Keras' own functions."""
    spec = BACKBONES[name]
    model, pixels = extractor(name), pictures(8, spec.smallest)
    assert not model.trainable_variables
    for one, other in zip(model.get_weights(), extractor(name).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
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


@pytest.mark.nightly
def test_statistics_depend_on_the_pictures_alone() -> None:
    """Not on the dropout that a network has."""
    model = extractor("efficientnet_v2_b0")
    calibrate(model, pictures(8))
    once = model(pictures()).numpy()
    calibrate(model, pictures(8))
    np.testing.assert_array_equal(model(pictures()).numpy(), once)


def prepared(name: str, pixels: np.ndarray) -> np.ndarray:
    """Return pixels in a backbone's native convention."""
    spec = BACKBONES[name]
    if spec.module:
        return importlib.import_module(f"keras.applications.{spec.module}").preprocess_input(pixels.copy())
    low, high = {"mnist_cnn": (0, 1), "lenet5": (-0.1, 1.175)}.get(name, (-1, 1))
    return low + pixels / 255 * (high - low)


def test_rescale_divides_by_255() -> None:
    layer = extractor("lenet5", preprocess="rescale", size=32).get_layer("input_convention")
    np.testing.assert_allclose(layer.predict(pictures(), verbose=0), pictures() / 255, atol=1e-6)


def test_the_seed_decides_a_random_backbone() -> None:
    one, same, other = (extractor("resnet20", seed=seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown backbone 'vgg99'; available: small_cnn, mnist_cnn, "):
        backbone("vgg99")


@pytest.mark.parametrize("name", ["mnist_cnn", "lenet5"])
def test_networks_for_digits_see_luma(name: str) -> None:
    """ITU-R BT.601: a color and its grey are the same to them."""
    model, pixels = extractor(name), pictures(3, 32)
    model = extractor(name, size=32)
    grey = np.repeat((pixels @ [0.2989, 0.587, 0.114])[..., None], 3, axis=-1)
    np.testing.assert_allclose(model(grey).numpy(), model(pixels).numpy(), atol=1e-3)
