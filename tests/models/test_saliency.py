"""Saliency: what supports a class in a picture, compared with what can be computed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models.divided import Divided
from lamina.models.networks import build_head, build_network, join
from lamina.models.saliency import Saliency

SIZE, WIDTH, CLASSES = 16, 5, 3


def pictures(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def extractor(pool: str) -> Any:
    """A frozen network as features have it: a nested trunk, (n, 8, 8, 5), and a pooling after it."""
    import keras

    keras.utils.set_random_seed(1)
    inside = keras.Input((SIZE, SIZE, 3))
    trunk = keras.Model(inside, keras.layers.Conv2D(WIDTH, 3, strides=2, padding="same")(inside), name="backbone")
    pixels = keras.Input((SIZE, SIZE, 3), name="rgb")
    scaled = keras.layers.Rescaling(1 / 255)(pixels)
    pooling = keras.layers.GlobalAveragePooling2D() if pool == "avg" else keras.layers.Flatten()
    return keras.Model(pixels, pooling(trunk(scaled, training=False)), name="extractor")


def reloaded(model: Any, folder: Path) -> Any:
    from lamina.models.loading import load_model

    model.save(folder / "model.keras")
    return load_model(folder / "model.keras")


def maps_of(model: Any) -> np.ndarray:
    trunk = model.get_layer("backbone")
    return np.asarray(trunk(pictures().astype(np.float32) / 255))


def test_under_average_pooling_and_one_linear_layer_it_is_the_class_activation_map(tmp_path: Path) -> None:
    import keras

    body = extractor("avg")
    last = keras.layers.Dense(CLASSES, activation="softmax", name="classes")
    model = reloaded(keras.Model(body.input, last(body.output)), tmp_path)
    kernel, bias = model.get_layer("classes").get_weights()
    maps, which = maps_of(model), np.array([0, 1, 2, 1])
    found = Saliency(Divided(model)).shares(pictures(), which[:, None])[:, 0]
    by_hand = np.einsum("nhwk,kn->nhw", maps, kernel[:, which]) / (8 * 8)
    np.testing.assert_allclose(found, by_hand, atol=1e-6)
    # together they are the logit but for the bias, which shows in the ratio of two probabilities
    others = Saliency(Divided(model)).shares(pictures(), (which[:, None] + 1) % CLASSES)[:, 0]
    given = model.predict(pictures().astype(np.float32), verbose=0)
    rows = np.arange(4)
    ratio = np.log(given[rows, which] / given[rows, (which + 1) % CLASSES])
    logits = (found.sum((1, 2)) + bias[which]) - (others.sum((1, 2)) + bias[(which + 1) % CLASSES])
    np.testing.assert_allclose(logits, ratio, atol=1e-4)


def test_of_sigmoid_outputs_it_is_the_logit_of_each_label(tmp_path: Path) -> None:
    import keras

    body = extractor("avg")
    last = keras.layers.Dense(CLASSES, activation="sigmoid", name="labels")
    model = reloaded(keras.Model(body.input, last(body.output)), tmp_path)
    _, bias = model.get_layer("labels").get_weights()
    found = Saliency(Divided(model)).shares(pictures(), np.tile(np.arange(CLASSES), (4, 1)))
    given = model.predict(pictures().astype(np.float32), verbose=0)
    np.testing.assert_allclose(found.sum((2, 3)) + bias, np.log(given / (1 - given)), atol=1e-4)


@pytest.mark.parametrize("pool", ["avg", "flatten"])
def test_through_a_head_it_is_the_map_times_its_gradient(pool: str, tmp_path: Path) -> None:
    """Compared with NumPy: differences of the head's logit, one place of the map at a time."""
    body = extractor(pool)
    width = body.output.shape[-1]
    draw = np.random.default_rng(2)
    mean, variance = draw.normal(size=width), draw.uniform(0.5, 2, width)
    head = build_head(width, CLASSES, dropout=0.5, mean=mean, variance=variance, seed=3)
    model = reloaded(join(body, head), tmp_path)
    w1, b1, w2, b2 = [weights.astype(np.float64) for weights in head.get_weights()[-4:]]

    def logit(maps: np.ndarray, which: int) -> float:
        features = maps.mean((0, 1)) if pool == "avg" else maps.reshape(-1)
        hidden = np.maximum((features - mean) / np.sqrt(variance) @ w1 + b1, 0)
        return float((hidden @ w2 + b2)[which])

    maps = maps_of(model)[0].astype(np.float64)
    found = Saliency(Divided(model)).shares(pictures(1), np.array([[2]]))[0, 0]
    assert found.shape == (8, 8)
    for row, column in [(0, 0), (3, 4), (7, 7), (5, 1)]:
        more, less = maps.copy(), maps.copy()
        more[row, column] *= 1 + 1e-4
        less[row, column] *= 1 - 1e-4
        by_hand = (logit(more, 2) - logit(less, 2)) / 2e-4
        assert found[row, column] == pytest.approx(by_hand, abs=1e-4)


def test_a_network_that_uses_the_left_half_alone_shows_it(tmp_path: Path) -> None:
    model = build_network("small_cnn", 64, CLASSES, dropout=0.5, seed=1)
    kernel, bias = model.get_layer("hidden_1").get_weights()
    places = kernel.reshape(4, 4, 128, -1).copy()
    places[:, 2:] = 0
    model.get_layer("hidden_1").set_weights([places.reshape(kernel.shape), bias])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    found = Saliency(Divided(reloaded(model, tmp_path))).shares(pixels, np.array([[0], [1], [2]]))[:, 0]
    assert found.shape == (3, 4, 4)
    assert (found[:, :, 2:] == 0).all()
    assert (np.abs(found[:, :, :2]).sum((1, 2)) > 0).all()


def test_the_model_predicts_as_before() -> None:
    model = build_network("small_cnn", SIZE, CLASSES, dropout=0.5, seed=1)
    pixels = pictures().astype(np.float32)
    before = np.asarray(model(pixels, training=False))
    Saliency(Divided(model)).shares(pictures(), np.array([[0], [1], [2], [0]]))
    np.testing.assert_array_equal(np.asarray(model(pixels, training=False)), before)


def test_a_picture_is_explained_alone() -> None:
    saliency = Saliency(Divided(build_network("small_cnn", SIZE, CLASSES, dropout=0.5, seed=1)))
    together = saliency.shares(pictures(), np.array([[0, 1], [1, 2], [2, 0], [0, 1]]))
    alone = saliency.shares(pictures()[2:3], np.array([[0]]))
    np.testing.assert_allclose(alone[0, 0], together[2, 1], atol=1e-6)


def test_a_network_without_maps_is_refused() -> None:
    import keras

    flat = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")], name="flat")
    functional = keras.Model(flat.inputs[0], flat.outputs[0], name="flat")
    with pytest.raises(UserError, match="flat: no layer of this network gives a feature map"):
        Saliency(Divided(functional))
