"""The saved colorizer: pictures in, pictures out, with the network from lightness to colors inside."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.color import rgb2lab

from lamina.errors import UserError
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.models.colorizers import build_colorizer, build_tail, predicted_side
from lamina.models.engine import compile_engine
from lamina.models.keras_runtime import keras
from lamina.models.loading import load_model
from lamina.models.saving import save_model
from lamina.tasks.colorize.network import COLORIZER, colorizer_of, final_model

SIDE = 32


def network(**changes: Any) -> keras.Model:
    given = {
        "weights": "weights/random",
        "preprocess": "native",
        "decoder": "unet",
        "side": predicted_side(SIDE, "mse"),
        "outputs": 2,
        "dropout": 0.1,
        "seed": 7,
        "frozen": False,
    }
    return build_colorizer("small_cnn", size=SIDE, **(given | changes))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.backend.clear_session()
    return final_model(network(), build_tail(SIDE, SIDE, None), flip_tta=False)


@pytest.fixture(scope="module")
def saved(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save_model(model, path)
    return path


def test_a_saved_model_takes_and_gives_pictures(saved: Path, model: keras.Model, pictures: np.ndarray) -> None:
    loaded = load_model(saved)
    assert (loaded.input_shape, loaded.output_shape) == ((None, SIDE, SIDE, 3),) * 2
    found = loaded.predict(pictures.astype(np.float32), verbose=0)
    assert 0 <= found.min() < found.max() <= 255
    np.testing.assert_allclose(found, model(pictures.astype(np.float32)), atol=1e-2)


def test_the_picture_is_made_of_its_lightness_and_the_predicted_colors(saved: Path, pictures: np.ndarray) -> None:
    loaded = load_model(saved)
    light = rgb2lab(pictures)[..., :1].astype(np.float32)
    colors = np.asarray(colorizer_of(loaded)(light))
    assert colors.shape == (3, SIDE, SIDE, 2)
    lab = np.rint(np.concatenate([light, colors], axis=-1) * 100).astype(np.int16)
    found = np.asarray(loaded(pictures.astype(np.float32)))
    assert np.abs(found - lab_to_srgb(lab)).max() < 1.1  # of 255: rounding to 8 bits and to hundredths of L, a, b


def test_color_and_grey_pictures_get_the_same_colors(saved: Path, pictures: np.ndarray) -> None:
    lab = srgb_to_lab(pictures)
    lab[..., 1:] = 0
    loaded = load_model(saved)
    found, of_grey = (np.asarray(loaded(one.astype(np.float32))) for one in (pictures, lab_to_srgb(lab)))
    assert np.abs(found - of_grey).mean() < 1  # the greys are rounded to 8 bits


def test_lightness_is_kept(saved: Path, pictures: np.ndarray) -> None:
    """Where no channel of the predicted color lies beyond sRGB."""
    found = np.asarray(load_model(saved)(pictures.astype(np.float32)))
    inside = ((found > 0.5) & (found < 254.5)).all(axis=-1)
    assert inside.mean() > 0.3
    before, after = (rgb2lab(one / 255.0)[..., 0] for one in (pictures, found))
    np.testing.assert_allclose(after[inside], before[inside], atol=0.05)


def test_the_mirror_image_gets_the_mirrored_colors_with_flip_tta(pictures: np.ndarray, tmp_path: Path) -> None:
    built, tail = network(), build_tail(SIDE, SIDE, None)
    save_model(final_model(built, tail, flip_tta=True), tmp_path / "model.keras")
    loaded, rgb = load_model(tmp_path / "model.keras"), pictures.astype(np.float32)
    found, flipped = np.asarray(loaded(rgb)), np.asarray(loaded(rgb[:, :, ::-1].copy()))
    np.testing.assert_allclose(flipped[:, :, ::-1], found, atol=0.02)
    once = np.asarray(final_model(built, tail, flip_tta=False)(rgb))
    assert np.abs(once - found).max() > 0.1  # else the network saw no difference


def test_a_run_starts_from_the_network_inside_a_saved_model(saved: Path, model: keras.Model) -> None:
    again = network(weights=str(saved), initialize="whole", seed=1)
    light = np.random.default_rng(0).uniform(0, 100, (2, SIDE, SIDE, 1)).astype(np.float32)
    tail = build_tail(SIDE, SIDE, None)
    np.testing.assert_allclose(tail(again(light)), colorizer_of(model)(light), atol=1e-4)
    with pytest.raises(UserError, match=r"model\.keras does not fit this network: .*up0_conv"):
        network(weights=str(saved), initialize="whole", decoder="conv")


def test_it_runs_in_openvino(model: keras.Model, pictures: np.ndarray) -> None:
    expected = np.asarray(model(pictures.astype(np.float32)))
    engine = compile_engine(keras.Model(model.input, keras.layers.Flatten()(model.output)), "float32")
    assert engine.name == "OpenVINO"
    np.testing.assert_allclose(engine.features(pictures).reshape(expected.shape), expected, atol=0.05)


WITHOUT_LAMINA = """
import sys
sys.modules["lamina"] = None
import keras, numpy
model = keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)
print(model(numpy.zeros((1, 32, 32, 3), "float32")).shape)
"""


@pytest.mark.nightly
def test_it_loads_without_lamina(saved: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_LAMINA, str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(1, 32, 32, 3)"


def test_a_model_without_such_a_network_is_refused() -> None:
    pixels = keras.Input((8, 8, 3))
    other = keras.Model(pixels, keras.layers.Rescaling(1.0)(pixels), name="other")
    assert COLORIZER not in [layer.name for layer in other.layers]
    with pytest.raises(UserError, match=r"other: holds no network from lightness to colors; train the run again"):
        colorizer_of(other)
