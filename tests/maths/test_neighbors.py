"""Distances to the k-th neighbor: those of scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from lamina.maths import neighbors
from lamina.maths.neighbors import distances, unit_rows


def test_distances_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    features, reference = (unit_rows(random.normal(size=(n, 7))) for n in (33, 20))
    expected = NearestNeighbors(n_neighbors=5).fit(reference).kneighbors(features)[0][:, -1]
    np.testing.assert_allclose(distances(features, reference, 5), expected, atol=1e-5)
    monkeypatch.setattr(neighbors, "_AT_ONCE", 10)
    np.testing.assert_allclose(distances(features, reference, 5), expected, atol=1e-5)


def test_few_reference_pictures_and_none_to_compare() -> None:
    reference = unit_rows(np.eye(3, dtype=np.float32))
    assert distances(reference, reference, 10) == pytest.approx(np.sqrt(2))
    assert distances(reference, reference, 1) == pytest.approx(0)
    assert distances(reference[:0], reference).shape == (0,)


def test_rows_have_length_one_and_zeros_stay() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]])
