"""Scores: what they promise for any predictions, against scikit-learn and published values, and by simulation."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, classification_report, f1_score

from lamina.maths.scores import accuracy_interval, effective_size, score

CLASSES = ["cat", "dog", "owl", "yak"]

hits = st.lists(st.booleans(), min_size=1, max_size=60)
rows = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES), st.sampled_from([f"o{i}" for i in range(9)])),
    min_size=1,
    max_size=60,
)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's bounds as the roots of the quadratic that defines them."""
    z2 = 1.959963984540054**2
    low, high = sorted(np.roots([n + z2, -(2 * right + z2), right**2 / n]).real)
    return float(low), float(high)


@given(rows)
def test_score_has_the_block_of_metrics_json_in_plain_numbers(table):
    block = score(*zip(*table, strict=True), CLASSES)
    assert json.loads(json.dumps(block, allow_nan=False)) == block
    assert list(block) == ["accuracy", "interval", "n", "origins", "macro_f1", "per_class", "majority"]
    assert list(block["per_class"]) == CLASSES
    assert all(list(entry) == ["precision", "recall", "f1", "n"] for entry in block["per_class"].values())
    assert sum(entry["n"] for entry in block["per_class"].values()) == block["n"] == len(table)
    assert block["origins"] == len({origin for _, _, origin in table})
    low, high = block["interval"]
    assert 0 <= low <= block["accuracy"] <= high <= 1
    assert 1 / len(CLASSES) <= block["majority"] <= 1


@given(rows, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_count(table, random):
    shuffled = random.sample(table, len(table))
    assert score(*zip(*shuffled, strict=True), CLASSES) == score(*zip(*table, strict=True), CLASSES)


@given(rows, st.permutations(CLASSES))
def test_names_of_classes_and_origins_do_not_count(table, names):
    new = dict(zip(CLASSES, names, strict=True))
    block = score(*zip(*table, strict=True), CLASSES)
    label, predicted, origin = zip(*[(new[a], new[b], o[::-1]) for a, b, o in table], strict=True)
    renamed = score(label, predicted, origin, CLASSES)
    assert renamed.pop("per_class") == {new[name]: entry for name, entry in block.pop("per_class").items()}
    assert renamed == block


@given(rows)
def test_rates_are_those_of_scikit_learn(table):
    label, predicted, _ = zip(*table, strict=True)
    block = score(*zip(*table, strict=True), CLASSES)
    assert block["accuracy"] == pytest.approx(accuracy_score(label, predicted))
    assert block["macro_f1"] == pytest.approx(f1_score(label, predicted, average="macro", zero_division=0))
    report = classification_report(label, predicted, output_dict=True, zero_division=0)
    for name in set(label):
        ours, theirs = block["per_class"][name], report[name]
        assert (ours["precision"], ours["recall"], ours["f1"], ours["n"]) == pytest.approx(
            (theirs["precision"], theirs["recall"], theirs["f1-score"], theirs["support"])
        )


def test_score_worked_by_hand():
    block = score(["cat", "cat", "cat", "dog"], ["cat", "cat", "dog", "dog"], list("abcd"), CLASSES[:3])
    assert block["accuracy"] == block["majority"] == 0.75
    assert block["per_class"]["cat"] == {"precision": 1.0, "recall": pytest.approx(2 / 3), "f1": 0.8, "n": 3}
    assert block["per_class"]["dog"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "n": 1}
    assert block["per_class"]["owl"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0}
    assert block["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_score_refuses_what_it_cannot_score():
    with pytest.raises(ValueError, match="at least one picture"):
        score([], [], [], CLASSES)
    with pytest.raises(ValueError, match="as many labels as predictions and origins, got 2, 1 and 2"):
        score(["cat", "dog"], ["cat"], ["a", "b"], CLASSES)
    with pytest.raises(ValueError, match=r"expected classes among .* got 'cow'"):
        score(["cat"], ["cow"], ["a"], CLASSES)
    with pytest.raises(ValueError, match="got nan"):
        score(["cat"], [math.nan], ["a"], CLASSES)


@given(hits)
def test_one_picture_an_origin_gives_wilsons_interval(correct):
    interval = accuracy_interval(correct, [str(i) for i in range(len(correct))])
    assert interval == pytest.approx(wilson(sum(correct), len(correct)), abs=1e-7)


def test_wilson_published():
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3.
    for right, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        correct = [True] * right + [False] * (n - right)
        assert accuracy_interval(correct, [str(i) for i in range(n)]) == pytest.approx((low, high), abs=5e-5)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefg")), min_size=1, max_size=60))
def test_effective_size_lies_between_what_origins_and_pictures_are_worth(table):
    correct, origin = zip(*table, strict=True)
    sizes = np.unique(origin, return_counts=True)[1]
    assert sizes.sum() ** 2 / np.sum(sizes**2) - 1e-9 <= effective_size(correct, origin) <= len(table) + 1e-9
    low, high = accuracy_interval(correct, origin)
    assert 0 <= low <= np.mean(correct) <= high <= 1


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_copies_of_a_picture_add_nothing(rate):
    correct = np.arange(40) < 40 * rate
    origin = np.arange(40).astype(str)
    alone = accuracy_interval(correct, origin)
    assert accuracy_interval(np.repeat(correct, 7), np.repeat(origin, 7)) == pytest.approx(alone)


def test_one_origin_is_worth_one_picture():
    assert effective_size([True, False, True, True], ["a"] * 4) == 1.0


def test_pictures_that_share_nothing_count_nearly_in_full():
    correct = np.random.default_rng(0).random(3000) < 0.8
    assert 2400 < effective_size(correct, np.repeat(np.arange(1000).astype(str), 3)) <= 3000


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("origins", [20, 40, 60])
def test_interval_holds_the_true_accuracy(origins, correlation):
    # Origins of 1 to 12 pictures; a share of an origin's pictures, the root of the correlation, fall together.
    random = np.random.default_rng(origins)
    for truth in (0.7, 0.9):
        held, width, trials = 0, 0.0, 500
        expected = 0.0
        for _ in range(trials):
            origin = np.repeat(np.arange(origins), random.integers(1, 13, origins))
            together = random.random(origin.size) < math.sqrt(correlation)
            correct = np.where(together, (random.random(origins) < truth)[origin], random.random(origin.size) < truth)
            low, high = accuracy_interval(correct, origin.astype(str))
            held += low <= truth <= high
            width += (high - low) / trials
            worth = origin.size / (1 + correlation * (np.mean(np.bincount(origin)[origin]) - 1))
            expected += np.diff(wilson(truth * worth, worth))[0] / trials
        assert held / trials >= 0.92
        # beside Wilson's interval by someone who knows the correlation
        assert 0.9 < width / expected < 1.5
