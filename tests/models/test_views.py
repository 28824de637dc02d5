"""Views: the saved model averages over flips, turns or crops, and is a model like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.models.divided import Divided
from lamina.models.loading import load_model
from lamina.models.networks import build_network
from lamina.models.saliency import Saliency
from lamina.models.saving import save_model
from lamina.models.views import single_view, with_views

SIZE = 16


def network() -> Any:
    return build_network("small_cnn", SIZE, 3, dropout=0.2, seed=1)


def pictures(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.float32)


def flips(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels, pixels[:, :, ::-1], pixels[:, ::-1], pixels[:, ::-1, ::-1]]


def turns(pixels: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(view, turn, axes=(1, 2)) for view in (pixels, pixels[:, :, ::-1]) for turn in range(4)]


@pytest.mark.parametrize(
    ("views", "expected"), [(2, lambda pixels: flips(pixels)[:2]), (4, flips), (8, turns)], ids=["2", "4", "8"]
)
def test_predictions_are_the_mean_over_flips_and_turns(views: Any, expected: Any) -> None:
    one = network()
    mean = np.mean([one(np.ascontiguousarray(view)).numpy() for view in expected(pictures())], axis=0)
    np.testing.assert_allclose(with_views(one, views)(pictures()).numpy(), mean, atol=1e-5)


@pytest.mark.parametrize("views", [8, 4])
def test_a_flipped_picture_is_the_same_to_it(views: Any) -> None:
    model = with_views(network(), views)
    first, *others = (model(np.ascontiguousarray(view)).numpy() for view in flips(pictures()))
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-5)


def test_crops_show_corners_at_the_size_of_the_picture() -> None:
    pixels = np.zeros((1, SIZE, SIZE, 3), np.float32)
    same = np.full((1, SIZE, SIZE, 3), 128, np.float32)
    one = network()
    for views in (5, 10):
        model = with_views(network(), views)  # type: ignore[arg-type]
        np.testing.assert_allclose(model(same).numpy(), one(same).numpy(), atol=1e-5)
        corner = pixels.copy()
        corner[:, 0, 0] = 255
        assert (model(corner).numpy() != model(pixels).numpy()).any()


def test_one_view_changes_nothing() -> None:
    one = network()
    assert with_views(one, 1) is one
    assert single_view(one) is one


def test_a_saved_model_with_views_explains_the_picture_as_it_is(tmp_path: Path) -> None:
    one = network()
    expected = Saliency(Divided(one)).shares(pictures(), np.array([[0, 1]] * 3))
    save_model(with_views(one, 8), tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    divided = Divided(loaded)
    np.testing.assert_allclose(divided.outputs(pictures()), loaded(pictures()).numpy(), atol=1e-5)
    np.testing.assert_allclose(Saliency(divided).shares(pictures(), np.array([[0, 1]] * 3)), expected, atol=1e-5)
