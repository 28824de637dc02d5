"""Targets shuffled between whole origins, and the permutation test, against plain loops."""

import itertools

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.maths import target_shuffles
from lamina.maths.control import LEVEL, against_chance
from lamina.maths.label_scores import f1_of_each
from lamina.maths.target_shuffles import Places, shuffle_targets, target_test
from lamina.tasks.multilabel.control import open_f1

ORIGINS = 24
SIZES = [1 + number % 4 for number in range(ORIGINS)]
ORIGIN = np.repeat([f"slide {number:02d}" for number in range(ORIGINS)], SIZES)
FOLD = np.repeat([("train", "validation", "test")[number // 8] for number in range(ORIGINS)], SIZES)
ROWS = len(ORIGIN)


def numbers(seed: int = 0) -> np.ndarray:
    """(rows, 1) numbers; the first two rows of an origin share theirs."""
    found = np.random.default_rng(seed).normal(size=(ROWS, 1))
    second = np.array([row for row in range(1, ROWS) if list(ORIGIN[: row + 1]).count(ORIGIN[row]) == 2])
    found[second] = found[second - 1]
    return found


def mae(targets: np.ndarray, predicted: np.ndarray, source: Places) -> float:
    return float(np.abs(targets[source, 0] - predicted).mean())


@pytest.mark.parametrize("seed", range(5))
def test_whole_origins_exchange_their_targets_inside_their_fold(seed: int) -> None:
    targets = numbers()
    _, source = shuffle_targets(ORIGIN, FOLD, targets, seed)
    assert (FOLD[source] == FOLD).all()
    given = {name: set(ORIGIN[source[name == ORIGIN]]) for name in np.unique(ORIGIN)}
    assert all(len(others) == 1 for others in given.values()), "all targets of an origin come from one other"
    assert len(set.union(*given.values())) == ORIGINS, "each origin gives its targets to one"
    new = targets[source, 0]
    for name in np.unique(ORIGIN):
        rows = np.flatnonzero(name == ORIGIN)
        [other] = given[name]
        size = len(np.unique(targets[other == ORIGIN]))
        assert len(np.unique(new[rows])) == min(size, len(np.unique(targets[rows])))
        for one, two in itertools.combinations(rows, 2):
            if targets[one, 0] == targets[two, 0]:
                assert new[one] == new[two], "the same target stays common"


def test_the_targets_of_an_origin_forget_their_order() -> None:
    origin, fold = np.repeat(list("abcdefgh"), 10), np.repeat(["train"], 80)
    targets = np.tile(np.arange(10.0), 8)[:, None]
    drawn = [shuffle_targets(origin, fold, targets, seed)[1] for seed in range(20)]
    ranks = [np.corrcoef(targets[source[:10], 0], np.arange(10))[0, 1] for source in drawn if source[0] >= 10]
    assert abs(np.mean(ranks)) < 0.3


def test_rows_of_equal_origins_keep_the_targets_of_each_fold() -> None:
    targets = np.random.default_rng(1).random((60, 3)) < 0.3
    origin, fold = np.arange(60).astype(str), np.repeat(["train", "validation", "test"], 20)
    _, source = shuffle_targets(origin, fold, targets.astype(float), seed=1)
    assert (source != np.arange(60)).mean() > 0.8
    for name in np.unique(fold):
        rows = name == fold
        assert sorted(map(tuple, targets[source][rows])) == sorted(map(tuple, targets[rows]))


def test_a_rare_label_stays_in_the_training_fold() -> None:
    """One row of an origin of six has it; most shuffles give it to an origin of one row, which may lose it."""
    origin = np.array(["big"] * 6 + [f"small {n}" for n in range(8)])
    targets = np.stack([np.arange(14) == 3, np.arange(14) % 2 == 0, np.arange(14) // 2 % 2 == 0], axis=1).astype(float)
    for seed in range(30):
        _, source = shuffle_targets(origin, ["train"] * 14, targets, seed)
        assert targets[source, 0].any()


def test_targets_that_no_shuffle_can_teach_are_refused() -> None:
    targets = np.zeros((4, 1))
    with pytest.raises(UserError, match=r"^assess\.control: after each of 100 shuffles a target .* control: false"):
        shuffle_targets(["a", "a", "b", "c"], ["train"] * 4, targets, seed=1)


def test_the_test_equals_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_shuffles, "SHUFFLES", 999)
    targets = numbers()
    shuffler, source = shuffle_targets(ORIGIN, FOLD, targets, seed=3)
    rows = np.flatnonzero(FOLD == "test")
    predicted = 0.5 * targets[source[rows], 0]
    value = mae(targets, predicted, source[rows])

    def score(source: Places) -> float:
        return mae(targets, predicted, source)

    found = target_test(value, score, shuffler.only(rows), higher_is_better=False, seed=3)
    random, drawn = np.random.default_rng(9), []
    names = np.unique(ORIGIN[rows])
    units = shuffler.targets
    different = {name: units[ORIGIN[units] == name] for name in names}
    for _ in range(999):
        other = dict(zip(names, random.permutation(names), strict=True))
        errors = []
        for row, prediction in zip(rows, predicted, strict=True):
            given = different[other[ORIGIN[row]]]
            errors.append(abs(targets[given[shuffler.place[row] % len(given)], 0] - prediction))
        drawn.append(np.mean(errors))
    p = (1 + np.sum(np.array(drawn) <= value + 1e-12)) / 1000
    assert found["chance"] == pytest.approx(np.mean(drawn), abs=0.02)
    assert found["interval"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.05)
    assert found["p"] == pytest.approx(p, abs=0.01)
    assert p < 0.05
    assert found["passed"] == (found["p"] > LEVEL)


@pytest.mark.parametrize("labels", [3, 20, 70])
def test_bits_give_the_f1_of_each_example(labels: int) -> None:
    random = np.random.default_rng(labels)
    truth, named = (random.random((count, labels)) < 2 / labels for count in (50, 30))
    source = random.integers(0, 50, 30)
    assert open_f1(truth, named)(source) == pytest.approx(f1_of_each(truth[source], named).mean(), abs=1e-12)


def p_of(seed: int, *, knows: bool, higher_is_better: bool) -> float:
    """Return p of predictions that are the true numbers; knows: those that the test rows got in the shuffle."""
    targets, rows, sign = numbers(seed), np.flatnonzero(FOLD == "test"), -1 if higher_is_better else 1
    shuffler, source = shuffle_targets(ORIGIN, FOLD, targets, seed)
    predicted = targets[source[rows] if knows else rows, 0]

    def score(places: Places) -> float:
        return sign * mae(targets, predicted, places)

    tested = shuffler.only(rows)
    return float(target_test(score(source[rows]), score, tested, higher_is_better=higher_is_better, seed=seed)["p"])


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_predictions_that_know_the_shuffled_targets_are_found(higher_is_better: bool) -> None:
    p = p_of(1, knows=True, higher_is_better=higher_is_better)
    assert 1 / (target_shuffles.SHUFFLES + 1) <= p <= LEVEL


def test_sound_predictions_have_a_uniform_p(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as good as can be for the true numbers, of which the shuffle leaves nothing."""
    monkeypatch.setattr(target_shuffles, "SHUFFLES", 99)
    found = np.array([p_of(seed, knows=False, higher_is_better=False) for seed in range(300)])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert abs((found <= level).mean() - level) < 4 * np.sqrt(level * (1 - level) / 300)


@pytest.mark.parametrize(("value", "sign", "p"), [(2.0, 1, 0.01), (2.0, -1, 1.0), (-2.0, -1, 0.01), (1.0, 1, 0.51)])
def test_p_counts_shuffles_that_are_at_least_as_good_and_is_never_zero(value: float, sign: int, p: float) -> None:
    shuffled = np.array([1.0] * 50 + [-1.0] * 49)
    assert against_chance(shuffled, value, sign=sign)["p"] == pytest.approx(p)
