"""A map of points: near points stay near, and the same points give the same map."""

import numpy as np
import pytest

from lamina.maths import embedding
from lamina.maths.embedding import embed


def groups(count: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Return points of three groups in 20 dimensions, and the group of each."""
    random, group = np.random.default_rng(0), np.arange(count) % 3
    return (np.eye(20)[group] * 4 + random.normal(0, 0.5, (count, 20))).astype(np.float32), group


def test_groups_stay_together_and_the_map_fills_its_square() -> None:
    points, group = groups()
    drawn = embed(points, seed=1)
    apart = np.sqrt(((drawn[:, None] - drawn[None]) ** 2).sum(-1)) + 9 * np.eye(len(drawn))
    assert (group[apart.argmin(axis=1)] == group).mean() > 0.98
    assert np.abs(drawn).max() == pytest.approx(1)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(embed(points, seed=1), drawn)


def test_of_many_points_a_sample_is_on_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MOST", 100)
    drawn = embed(groups()[0], seed=1)
    assert np.isnan(drawn).all(axis=1).sum() == 140
    assert np.nanmax(np.abs(drawn)) == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 12])
def test_few_points_have_a_map(count: int) -> None:
    drawn = embed(groups(12)[0][:count], seed=1)
    assert drawn.shape == (count, 2)
    assert np.isfinite(drawn).all()


def test_equal_points_have_a_map() -> None:
    assert np.isfinite(embed(np.zeros((40, 3), np.float32), seed=1)).all()
