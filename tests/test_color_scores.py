"""Scores of colorizations: what others' definitions give, no more certain than the origins allow."""

import json
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp
from skimage.color import deltaE_ciede2000
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lamina.maths.bins import count_bins, nearest
from lamina.maths.color import UNITS, lab_to_srgb, srgb_to_lab
from lamina.maths.color_scores import (
    BASELINES,
    RANGES,
    colorfulness,
    mean_interval,
    rare_weights,
    regression_test,
    score_pictures,
    summarise,
)

MEAN = (4.5, 9.25)
values_of_origins = st.lists(st.tuples(st.floats(-100, 100), st.sampled_from("abcdefgh")), min_size=1, max_size=30)


def draw(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures in stored CIELAB, and predictions of a and b: half of the truth and noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, size // 4 + 1, size // 4 + 1, 3))
    rgb = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :size, :size] + random.integers(-9, 10, (count, size, size, 3))
    true = srgb_to_lab(np.clip(rgb, 0, 255).astype(np.uint8))
    return true, (true[..., 1:] / (2 * UNITS) + random.normal(0, 6, (count, size, size, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    return draw(50, 32)


@pytest.fixture(scope="module")
def table(pictures: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    return score_pictures(*pictures, MEAN)


def test_the_columns_are_those_of_predictions(table: pd.DataFrame) -> None:
    baselines = [f"{base}_{name}" for base in BASELINES for name in RANGES]
    assert list(table) == [*RANGES, *baselines, "true_colorfulness", "rare_weight"]
    assert (table.dtypes == np.float64).all()
    for name, (low, high) in RANGES.items():
        assert table[name].between(low, high).all(), name


def test_measures_are_what_their_definitions_give(pictures, table: pd.DataFrame) -> None:
    true, predicted = pictures
    limits = np.arange(0, 150, 0.25) + 0.125
    for row, stored, ab in zip(table.itertuples(), true[:6], predicted[:6], strict=False):
        lab = stored / UNITS
        seen = lab_to_srgb(np.concatenate([stored[..., :1], np.rint(ab * UNITS).astype(np.int16)], axis=-1))
        rgb = lab_to_srgb(stored)
        distance = np.linalg.norm(lab[..., 1:] - ab, axis=-1)
        painted = np.concatenate([lab[..., :1], ab], axis=-1)
        assert row.mse == pytest.approx(np.mean((lab[..., 1:] - ab) ** 2), rel=1e-5)
        assert row.psnr == pytest.approx(peak_signal_noise_ratio(rgb, seen), rel=1e-6)
        assert row.ssim == pytest.approx(structural_similarity(rgb, seen, data_range=255, channel_axis=-1), abs=1e-9)
        assert row.ciede2000 == pytest.approx(deltaE_ciede2000(lab, painted).mean(), rel=1e-4)
        assert row.auc == pytest.approx(np.mean([np.mean(distance <= limit) for limit in limits]), abs=1e-3)


def test_rebalanced_pixels_of_all_pictures_count_by_the_rarity_of_their_color(pictures, table: pd.DataFrame) -> None:
    true, predicted = pictures
    ab = true[..., 1:] / UNITS
    weights = rare_weights(count_bins(ab))[nearest(ab)]
    near = 1 - np.minimum(np.linalg.norm(predicted - ab, axis=-1), 150) / 150
    value = summarise(table, range(len(table)))["measures"]["auc_rebalanced"]["value"]
    assert value == pytest.approx(np.average(near, weights=weights), rel=1e-5)
    # a network that knows the commonest color alone is found out
    grey = np.full((2, 16, 16, 3), [5000, 0, 0], np.int16)
    grey[0, 0, 0] = [5000, 6000, 5000]
    summary = summarise(score_pictures(grey, np.zeros((2, 16, 16, 2), np.float32), MEAN), range(2))["measures"]
    assert summary["auc"]["value"] == pytest.approx(1 - math.hypot(60, 50) / 150 / 512, rel=1e-5)
    assert summary["auc_rebalanced"]["value"] == pytest.approx(1 - math.hypot(60, 50) / 300, abs=0.01)


def test_the_truth_scores_best_and_baselines_are_predictions_like_others(pictures, table: pd.DataFrame) -> None:
    true, _ = pictures
    exact = score_pictures(true, (true[..., 1:] / UNITS).astype(np.float32), MEAN)
    best = {"mse": 0, "psnr": 100, "ssim": 1, "ciede2000": 0, "auc": 1, "auc_rebalanced": 1}
    np.testing.assert_allclose(exact[list(best)], [list(best.values())] * len(exact), atol=1e-4)
    np.testing.assert_array_equal(exact["colorfulness"], exact["true_colorfulness"])
    for base, color in zip(BASELINES, ((0, 0), MEAN), strict=True):
        again = score_pictures(true, np.broadcast_to(np.float32(color), (*true.shape[:3], 2)), (1, 1))
        np.testing.assert_array_equal(again[list(RANGES)], table[[f"{base}_{name}" for name in RANGES]])
    assert table["grey_colorfulness"].max() < 1 < table["true_colorfulness"].min()


def test_a_picture_scores_the_same_wherever_it_stands(pictures, table: pd.DataFrame) -> None:
    true, predicted = (array.copy() for array in pictures)
    order = np.random.default_rng(1).permutation(len(true))
    shuffled = score_pictures(true[order], predicted[order], MEAN)
    pd.testing.assert_frame_equal(shuffled, table.iloc[order].reset_index(drop=True))
    rare = rare_weights(count_bins(true[..., 1:] / UNITS))
    parts = [score_pictures(true[part], predicted[part], MEAN, rare) for part in (slice(7), slice(7, None))]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), table)
    np.testing.assert_array_equal(true, pictures[0])
    np.testing.assert_array_equal(predicted, pictures[1])


def test_pictures_that_fill_a_block_each_are_scored_alike() -> None:
    true, predicted = draw(3, 200)
    alone = score_pictures(true[2:], predicted[2:], MEAN, np.ones(261, np.float32))
    together = score_pictures(true, predicted, MEAN, np.ones(261, np.float32))
    pd.testing.assert_frame_equal(together.iloc[2:].reset_index(drop=True), alone)
    np.testing.assert_allclose(together["auc_rebalanced"], together["auc"])


def test_worse_colors_score_worse(pictures) -> None:
    true, _ = pictures
    ab, random = true[..., 1:] / UNITS, np.random.default_rng(2)
    noise = random.normal(0, 1, ab.shape)
    means = [score_pictures(true, (ab + much * noise).astype(np.float32), MEAN).mean() for much in (1, 5, 15, 40)]
    for name in ("mse", "ciede2000"):
        assert (np.diff([mean[name] for mean in means]) > 0).all()
    for name in ("psnr", "ssim", "auc", "auc_rebalanced"):
        assert (np.diff([mean[name] for mean in means]) < 0).all()


# first and second L, a, b and their difference: those of the test pairs of Sharma et al. (2005) whose L is the same
SHARMA = """
50 2.6772 -79.7751 50 0 -82.7485 2.0425      50 3.1571 -77.2803 50 0 -82.7485 2.8615
50 2.8361 -74.0200 50 0 -82.7485 3.4412      50 -1.3802 -84.2814 50 0 -82.7485 1
50 -1.1848 -84.8006 50 0 -82.7485 1          50 -0.9009 -85.5211 50 0 -82.7485 1
50 0 0 50 -1 2 2.3669                        50 -1 2 50 0 0 2.3669
50 2.49 -0.001 50 -2.49 0.0011 7.2195        50 -0.001 2.49 50 0.0011 -2.49 4.7461
50 2.5 0 50 0 -2.5 4.3065                    50 2.5 0 50 3.1736 0.5854 1
50 2.5 0 50 3.2972 0 1                       50 2.5 0 50 1.8634 0.5757 1                 50 2.5 0 50 3.2592 0.335 1
"""


def test_published_color_differences() -> None:
    pairs = np.array(SHARMA.split(), float).reshape(-1, 7)
    true = np.rint(pairs[:, None, None, :3] * UNITS).astype(np.int16).repeat(8, axis=1).repeat(8, axis=2)
    predicted = pairs[:, None, None, 4:6].repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
    found = score_pictures(true, predicted, MEAN)["ciede2000"]
    np.testing.assert_allclose(found, pairs[:, 6], atol=0.005)  # stored colors are rounded to a hundredth


def test_colorfulness_by_hand() -> None:
    red = np.full((1, 8, 8, 3), [255, 0, 0], np.uint8)
    assert colorfulness(red)[0] == pytest.approx(0.3 * math.hypot(255, 127.5))
    halves = red.copy()
    halves[:, :4] = [0, 255, 0]  # red less green is 255 and -255, yellow less blue 127.5 throughout
    assert colorfulness(halves)[0] == pytest.approx(255 + 0.3 * 127.5)
    assert colorfulness(np.full((1, 8, 8, 3), 77, np.uint8))[0] == 0


@pytest.mark.parametrize(
    ("true", "predicted", "words"),
    [
        ((2, 8, 8, 3), np.zeros((2, 8, 9, 2)), r"expected a and b .*\(2, 8, 8, 3\), got \(2, 8, 9, 2\)"),
        ((2, 8, 8, 3), np.zeros((2, 8, 8, 3)), r"got \(2, 8, 8, 3\)"),
        ((0, 8, 8, 3), np.zeros((0, 8, 8, 2)), "one or more pictures"),
        ((1, 8, 8, 3), np.full((1, 8, 8, 2), np.nan), "finite predictions"),
        ((1, 8, 8, 3), np.full((1, 8, 8, 2), np.inf), "finite predictions"),
    ],
)
def test_what_cannot_be_scored_is_refused(true: tuple[int, ...], predicted: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score_pictures(np.zeros(true, np.int16), predicted.astype(np.float32), MEAN)


def test_a_network_gone_astray_is_scored_all_the_same() -> None:
    true, predicted = draw(2, 8)
    astray = score_pictures(true, predicted + np.float32(400), MEAN)
    assert (astray["auc"] == 0).all()
    assert (astray["mse"] > 1e5).all()
    assert np.isfinite(astray).all(axis=None)
    at_most = score_pictures(true, np.full_like(predicted, 327.67), MEAN)  # as much as stored CIELAB holds
    np.testing.assert_array_equal(astray["psnr"], at_most["psnr"])


def test_a_fold_is_summed_up(table: pd.DataFrame) -> None:
    origin = [f"o{number // 3}" for number in range(len(table))]
    block = summarise(table, origin)
    assert (block["n"], block["origins"]) == (50, 17)
    assert list(block["measures"]) == list(RANGES)
    for name in set(RANGES) - {"auc_rebalanced"}:
        one = block["measures"][name]
        assert one["value"] == pytest.approx(table[name].mean())
        assert [one["grey"], one["mean"]] == pytest.approx([table[f"{base}_{name}"].mean() for base in BASELINES])
        assert one["interval"] == pytest.approx(mean_interval(table[name], origin))
    assert block["measures"]["colorfulness"]["true"] == pytest.approx(table["true_colorfulness"].mean())
    against = block["against"]["grey"]
    assert against["difference"] == pytest.approx(table["mse"].mean() - table["grey_mse"].mean())
    assert against["interval"] == pytest.approx(mean_interval(table["mse"] - table["grey_mse"], origin))
    assert against["interval"][1] < 0  # half of the truth is better than none, picture by picture
    assert json.loads(json.dumps(block, allow_nan=False)) == block


def test_intervals_keep_to_the_range_of_their_measure_and_one_origin_has_none(table: pd.DataFrame) -> None:
    few = table.iloc[:2].assign(mse=[1.0, 400.0], auc=[0.99, 0.2])
    block = summarise(few, ["a", "b"])
    assert block["measures"]["mse"]["interval"][0] == 0
    assert block["measures"]["auc"]["interval"] == [0, 1]
    alone = summarise(table, ["a"] * len(table))
    assert {str(one["interval"]) for one in [*alone["measures"].values(), *alone["against"].values()]} == {"None"}
    assert alone["measures"]["mse"]["value"] == pytest.approx(table["mse"].mean())
    assert mean_interval([1, 2, 3], ["a"] * 3) == (-math.inf, math.inf)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_one_picture_an_origin_gives_students_interval(values: list[float]) -> None:
    values = [*values, values[0] + 1]
    expected = ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values, range(len(values))) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


@given(values_of_origins, st.randoms(use_true_random=False), st.floats(-50, 50))
def test_the_interval_moves_with_the_values_and_not_with_their_order(rows, random, by: float) -> None:
    values, origin = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    low, high = mean_interval(values, origin)
    assert low - 1e-9 <= values.mean() <= high + 1e-9
    order = random.sample(range(len(rows)), len(rows))
    assert mean_interval(values[order], origin[order]) == pytest.approx((low, high), abs=1e-9)
    assert mean_interval(by - values, origin) == pytest.approx((by - high, by - low), abs=1e-9)
    assert mean_interval(values, origin, np.full(len(rows), 3)) == pytest.approx((low, high), abs=1e-9)


def test_a_picture_taken_twice_says_nothing_more() -> None:
    values = np.random.default_rng(3).normal(size=30)
    assert mean_interval(np.tile(values, 5), np.tile(range(30), 5)) == pytest.approx(mean_interval(values, range(30)))


def test_a_weighted_interval_is_the_jackknifes() -> None:
    random = np.random.default_rng(4)
    values, weights, origin = random.normal(size=40), random.lognormal(size=40), random.integers(0, 9, 40)
    left = [np.average(values[origin != one], weights=weights[origin != one]) for one in set(origin)]
    mean = np.average(values, weights=weights)
    half = 2.306004 * math.sqrt(8 / 9 * np.sum((np.array(left) - mean) ** 2))  # Student's t, 8 degrees of freedom
    assert mean_interval(values, origin, weights) == pytest.approx((mean - half, mean + half), rel=1e-6)


@pytest.mark.parametrize("origins", [8, 40])
def test_the_interval_holds_the_true_mean(origins: int) -> None:
    random, held = np.random.default_rng(origins), []
    for _ in range(800):
        origin = np.repeat(np.arange(origins), random.integers(1, 9, origins))
        values = random.normal(size=origins)[origin] + random.normal(size=origin.size)
        low, high = mean_interval(values, origin)
        held.append(low <= 0 <= high)
    assert 0.92 <= np.mean(held) <= 0.98


@given(values_of_origins)
def test_p_is_the_share_of_all_exchanges_of_whole_origins(rows) -> None:
    change, origin = np.round([row[0] for row in rows], 1), np.array([row[1] for row in rows])
    sums = [change[origin == one].sum() for one in sorted(set(origin))]
    flipped = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=len(sums))]
    expected = np.mean([one >= abs(sum(sums)) - 1e-7 for one in flipped])
    assert regression_test(np.zeros(len(rows)), change, origin) == pytest.approx(expected)


def test_drawn_exchanges_give_nearly_what_all_give() -> None:
    # 30 origins that differ by as much: the sign test
    change = np.array([1.0] * 20 + [-1.0] * 10)
    assert regression_test(np.zeros(30), change, range(30)) == pytest.approx(binomtest(20, 30).pvalue, rel=0.1)
    assert regression_test(np.zeros(6000), np.ones(6000), range(6000)) == 1e-4


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_order_and_names_and_direction_do_not_count(count: int, random) -> None:
    before, after = np.random.default_rng(count).lognormal(4, 1, (2, 3 * count))
    origin = np.arange(3 * count) // 3
    p = regression_test(before, after, origin)
    order = random.sample(range(3 * count), 3 * count)
    names = np.array(random.sample(range(1000), count))[origin]
    assert regression_test(before[order], after[order], names[order]) == p
    assert regression_test(after, before, origin) == p
    assert regression_test(before, before, origin) == 1


def test_p_values_are_uniform_where_neither_is_better() -> None:
    random, found = np.random.default_rng(6), []
    origin = np.repeat(np.arange(14), 3)
    for _ in range(600):
        errors = random.lognormal(4, 1, 14)[origin] * random.lognormal(0, 0.3, (2, len(origin)))
        found.append(regression_test(*errors, origin))
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 600))


def test_six_changes_one_way_and_one_origin() -> None:
    assert regression_test([5] * 6, [6, 7, 8, 9, 10, 11], range(6)) == 2 / 2**6
    assert regression_test([5] * 6, [6, 7, 8, 9, 10, 11], ["a"] * 6) == 1
    with pytest.raises(ValueError, match="same pictures before and after, got 1 and 3"):
        regression_test([1], [1, 2, 3], range(3))
    with pytest.raises(ValueError, match="each with its origin, got 3 and 2"):
        mean_interval([1, 2, 3], range(2))
    with pytest.raises(ValueError, match="one or more pictures, each with its origin, got 0 and 0"):
        mean_interval([], [])
