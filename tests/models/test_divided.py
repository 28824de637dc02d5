"""One function of a saved network gives its outputs, its features, and the maps that explain them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.models.averaging import average
from lamina.models.divided import Divided
from lamina.models.inference import inference
from lamina.models.loading import load_model
from lamina.models.networks import build_head, build_network, join
from lamina.models.saliency import Saliency
from lamina.models.views import with_views

SIZE, CLASSES = 16, 3
WHICH = np.array([[0, 1]] * 3)


def pictures(count: int = 70) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def whole(seed: int = 1) -> Any:
    return build_network("small_cnn", SIZE, CLASSES, dropout=0.5, seed=seed)


def over_features() -> Any:
    """A head, which is nested, over a backbone, which is nested as well."""
    import keras

    keras.utils.set_random_seed(1)
    inside = keras.Input((SIZE, SIZE, 3))
    trunk = keras.Model(inside, keras.layers.Conv2D(5, 3, strides=2)(inside), name="backbone")
    pixels = keras.Input((SIZE, SIZE, 3), name="rgb")
    body = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(trunk(keras.layers.Rescaling(1 / 255)(pixels))))
    mean, variance = np.zeros(5, np.float32), np.ones(5, np.float32)
    return join(body, build_head(5, CLASSES, dropout=0.5, mean=mean, variance=variance, seed=1))


def last_inputs(model: Any) -> np.ndarray:
    """What the last layer sees, computed layer by layer where it is nested; of length 1."""
    import keras

    *_, last = model.layers
    if isinstance(last, keras.Model):
        seen = keras.Model(model.input, model.layers[-2].output)(pictures().astype(np.float32), training=False)
        features = keras.Model(last.input, last.layers[-2].output)(seen, training=False)
    else:
        features = keras.Model(model.input, model.layers[-2].output)(pictures().astype(np.float32), training=False)
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True))


@pytest.mark.parametrize("build", [whole, over_features])
def test_outputs_and_features_are_those_of_the_network(build: Any, tmp_path: Path) -> None:
    build().save(tmp_path / "model.keras")
    model = load_model(tmp_path / "model.keras")
    divided, expected = Divided(model), model.predict(pictures().astype(np.float32), verbose=0)
    np.testing.assert_allclose(divided.outputs(pictures()), expected, atol=1e-6)
    np.testing.assert_allclose(inference(model)(pictures()), expected, atol=1e-6)
    np.testing.assert_allclose(divided.features(pictures()), last_inputs(model), atol=1e-5)
    outputs, features = divided.outputs_and_features(pictures())
    np.testing.assert_array_equal(outputs, divided.outputs(pictures()))
    np.testing.assert_array_equal(features, divided.features(pictures()))


def test_a_head_gives_the_features_of_what_its_backbone_saw() -> None:
    import keras

    model = over_features()
    backbone = keras.Model(model.input, model.layers[-2].output)
    divided, frozen = Divided(model), np.asarray(backbone(pictures().astype(np.float32), training=False))
    np.testing.assert_allclose(divided.features_of_frozen(frozen), divided.features(pictures()), atol=1e-6)


def test_several_views_have_the_features_of_the_picture_as_it_is() -> None:
    one, model = whole(), with_views(whole(), 4)
    outputs, features = Divided(model).outputs_and_features(pictures())
    np.testing.assert_allclose(outputs, model.predict(pictures().astype(np.float32), verbose=0), atol=1e-6)
    np.testing.assert_allclose(features, Divided(one).features(pictures()), atol=1e-6)


def test_an_ensemble_has_the_features_of_its_members() -> None:
    one, other = whole(1), whole(2)
    each = [Divided(network).features(pictures()) for network in (one, other)]
    model = average({"one": one, "other": other})
    outputs, features = Divided(model).outputs_and_features(pictures())
    np.testing.assert_allclose(outputs, model.predict(pictures().astype(np.float32), verbose=0), atol=1e-6)
    np.testing.assert_allclose(features, np.hstack(each) / np.sqrt(2), atol=1e-6)


def test_all_answers_and_explanations_take_one_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    model, traced = whole(), []
    functional = type(model)
    real = functional.call

    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        traced.append(self)
        return real(self, *arguments, **named)

    divided = Divided(model)
    monkeypatch.setattr(functional, "call", call)
    divided.outputs(pictures())
    divided.outputs_and_features(pictures())
    Saliency(divided).shares(pictures(3), WHICH)
    assert sum(network.input is model.input for network in traced) == 1
