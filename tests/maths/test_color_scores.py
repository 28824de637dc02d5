"""Scores of colorizations: what others' definitions give, no more certain than the origins allow."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from skimage.color import deltaE_ciede2000
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lamina.maths.bins import count_bins, nearest
from lamina.maths.color import UNITS, lab_to_srgb, srgb_to_lab
from lamina.maths.color_scores import (
    BASELINES,
    RANGES,
    colorfulness,
    rare_weights,
    score_pictures,
    summarise,
)
from lamina.maths.means import mean_interval

MEAN = (4.5, 9.25)


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
