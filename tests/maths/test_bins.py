"""Colors as classes: the bins hold all of sRGB and no more, and the table says what the formulas of the paper say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lamina.maths.bins import BINS, count_bins, nearest, rarity, soft_encode
from lamina.maths.color import UNITS, srgb_to_lab

colors = arrays(np.float32, st.tuples(st.integers(1, 20), st.just(2)), elements=st.floats(-120, 120, width=32))
counted = arrays(np.int64, len(BINS), elements=st.sampled_from([0, 0, 1, 7, 10**6])).filter(np.any)
some_colors = np.random.default_rng(0).normal(0, 25, (3, 5, 7, 2)).astype(np.float32)


def test_the_bins_are_those_that_srgb_colors_are_nearest_to() -> None:
    seen = np.zeros((30, 30), bool)
    green, blue = np.mgrid[0:256, 0:256]
    for red in range(256):
        rgb = np.stack([np.full_like(green, red), green, blue], axis=-1).astype(np.uint8)
        a, b = np.moveaxis((srgb_to_lab(rgb)[..., 1:].astype(int) + 5 * UNITS) // (10 * UNITS) + 15, -1, 0)
        seen[a, b] = True
    np.testing.assert_array_equal(BINS, (np.argwhere(seen) - 15) * 10)
    assert BINS.shape == (261, 2)
    assert BINS.dtype == np.float32


def test_soft_encoding_is_what_distances_to_all_bins_give() -> None:
    whole = np.rint(some_colors)
    indices, weights = soft_encode(some_colors)
    squares = np.sum((whole[..., None, :].astype(float) - BINS) ** 2, axis=-1)
    expected = np.argsort(squares, axis=-1, kind="stable")[..., :5]
    np.testing.assert_array_equal(indices, expected)
    gaussian = np.exp(-np.take_along_axis(squares, expected, axis=-1) / 50)
    np.testing.assert_allclose(weights, gaussian / gaussian.sum(axis=-1, keepdims=True), rtol=1e-6)
    assert indices.dtype == np.int32
    assert weights.dtype == np.float32


@given(colors)
def test_any_color_is_shared_out_in_full_and_the_nearest_gets_most(ab: np.ndarray) -> None:
    before = ab.copy()
    indices, weights = soft_encode(ab)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    assert (np.diff(weights, axis=-1) <= 0).all()
    assert all(len(set(row)) == 5 for row in indices)
    np.testing.assert_array_equal(nearest(ab), indices[:, 0])
    np.testing.assert_array_equal(ab, before)


def test_a_center_is_its_own_bin_and_the_mean_of_a_shared_out_color_is_near_it() -> None:
    np.testing.assert_array_equal(nearest(BINS), np.arange(len(BINS)))
    rgb = np.random.default_rng(1).integers(0, 256, (4000, 3), dtype=np.uint8)
    ab = srgb_to_lab(rgb)[:, 1:] / UNITS
    indices, weights = soft_encode(ab)
    shared = np.zeros((len(ab), len(BINS)))
    np.put_along_axis(shared, indices, weights, axis=1)
    assert np.abs(shared @ BINS - ab).mean() < 1.5
    assert np.linalg.norm(shared @ BINS - ab, axis=1).max() < 10


def test_every_color_is_counted_once() -> None:
    counts = count_bins(some_colors)
    assert counts.sum() == some_colors.size // 2
    np.testing.assert_array_equal(counts, np.bincount(nearest(some_colors).ravel(), minlength=len(BINS)))


@given(counted, st.sampled_from([0.1, 0.5, 0.9]))
def test_weights_are_one_in_the_mean_over_what_was_counted(counts: np.ndarray, uniform: float) -> None:
    weights = rarity(counts, uniform=uniform)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert weights @ (counts / counts.sum()) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(rarity(counts * 3, uniform=uniform), weights, rtol=1e-5)


@pytest.mark.parametrize("uniform", [0, 0.5])
def test_weights_are_the_papers(uniform: float) -> None:
    counts = np.random.default_rng(2).integers(0, 1000, len(BINS)) ** 2
    shares, smooth = counts / counts.sum(), np.zeros(len(BINS))
    for share, center in zip(shares, BINS, strict=True):
        gaussian = np.exp(-np.sum((BINS - center) ** 2, axis=1) / 2 / 5**2)
        smooth += share * gaussian / gaussian.sum()
    assert smooth.sum() == pytest.approx(1)
    inverse = 1 / ((1 - uniform) * smooth + uniform / len(BINS))
    np.testing.assert_allclose(rarity(counts, uniform=uniform), inverse / (shares @ inverse), rtol=1e-5)


def test_the_rarer_weighs_the_more_and_nothing_mixed_out_weighs_alike() -> None:
    counts = count_bins(np.random.default_rng(3).normal(0, 12, (100_000, 2)))
    grey, red = nearest([[0, 0], [70, 50]])
    assert rarity(counts)[red] > 10 * rarity(counts)[grey]
    assert np.isfinite(rarity(counts, uniform=0)).all()
    np.testing.assert_allclose(rarity(counts, uniform=1), 1, rtol=1e-6)


@pytest.mark.parametrize("counts", [np.zeros(len(BINS)), np.full(len(BINS), -1), np.ones(313)])
def test_counts_that_are_none_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(261,\) counts, none below 0 and not all 0, got shape"):
        rarity(counts)
