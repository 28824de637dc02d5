"""Our values of what was published of a classifier: those of `metrics.json`, and intervals by class."""

import numpy as np
import pandas as pd
import pytest

from lamina.maths.scores import accuracy_interval, score
from lamina.tasks.classify.published import QUANTITIES, class_interval, measured
from lamina.tasks.classify.results import ClassScores

CLASSES = ["a", "b", "c", "never"]
BY_CLASS = [name for name, quantity in QUANTITIES.items() if quantity.by_class]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """120 predictions of 40 origins; the class `never` neither occurs nor is predicted."""
    random = np.random.default_rng(3)
    label = random.choice(CLASSES[:3], 120, p=[0.6, 0.3, 0.1])
    predicted = np.where(random.random(120) < 0.7, label, random.choice(CLASSES[:3], 120))
    return pd.DataFrame({"origin": np.repeat(np.arange(40), 3).astype(str), "label": label, "predicted": predicted})


@pytest.fixture(scope="module")
def scores(rows: pd.DataFrame) -> ClassScores:
    return ClassScores.model_validate(score(rows["label"], rows["predicted"], rows["origin"], CLASSES))


def test_values_are_those_of_the_scores(rows: pd.DataFrame, scores: ClassScores) -> None:
    assert measured(scores, rows, "accuracy", None) == (scores.accuracy, scores.interval)
    assert measured(scores, rows, "macro_f1", None) == (scores.macro_f1, None)
    for label in CLASSES[:3]:
        for measure in BY_CLASS:
            found = measured(scores, rows, measure, label)
            assert found
            value, interval = found
            assert value == getattr(scores.per_class[label], measure)
            assert interval
            assert 0 <= interval[0] < value < interval[1] <= 1


def test_a_class_without_rows_that_count_has_no_value(rows: pd.DataFrame, scores: ClassScores) -> None:
    assert [measured(scores, rows, measure, "never") for measure in BY_CLASS] == [None, None, None]
    silent = rows.assign(predicted=rows["predicted"].replace("c", "b"))
    assert class_interval(silent, "precision", "c") is None
    assert class_interval(silent, "recall", "c")


def test_intervals_are_those_of_an_accuracy_over_the_rows_that_count(rows: pd.DataFrame) -> None:
    of_a, said_a = rows[rows["label"] == "a"], rows[rows["predicted"] == "a"]
    recall, precision = accuracy_interval(of_a["predicted"] == "a", of_a["origin"]), (said_a["label"] == "a")
    assert class_interval(rows, "recall", "a") == recall
    assert class_interval(rows, "precision", "a") == accuracy_interval(precision, said_a["origin"])


def test_f1_of_two_classes_that_are_never_confused_with_others_follows_from_the_jaccard_index() -> None:
    rows = pd.DataFrame({"label": [*"aaaab"], "predicted": [*"aaabb"], "origin": [*"12345"]})
    low, high = accuracy_interval([True, True, True, False], [*"1234"])  # three of the rows that are a or called a
    assert class_interval(rows, "f1", "a") == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))


@pytest.mark.parametrize("measure", BY_CLASS)
def test_rows_of_one_origin_count_less_than_independent_ones(rows: pd.DataFrame, measure: str) -> None:
    copied = pd.concat([rows.assign(origin=rows.index.astype(str))] * 4)
    apart = copied.assign(origin=np.arange(len(copied)).astype(str))
    together, separate = (class_interval(table, measure, "a") for table in (copied, apart))
    assert together
    assert separate
    assert together[0] < separate[0] < separate[1] < together[1]


def clustered(origins: int, random: np.random.Generator) -> pd.DataFrame:
    """Predictions of 6 rows of each origin, whose answers are alike; 84 % of them are correct."""
    label, skill = random.choice([*"abc"], origins), random.beta(3, 1, origins)
    rows = pd.DataFrame({"origin": np.arange(origins).astype(str), "label": label, "skill": skill})
    rows = rows.loc[rows.index.repeat(6)].reset_index(drop=True)
    correct = random.random(len(rows)) < rows["skill"]
    return rows.assign(predicted=rows["label"].where(correct, random.choice([*"abc"], len(rows))))


@pytest.mark.parametrize("measure", BY_CLASS)
def test_intervals_of_40_origins_cover_the_true_value_nine_times_of_ten(measure: str) -> None:
    random = np.random.default_rng(0)
    many = clustered(20_000, random)
    true = score(many["label"], many["predicted"], many["origin"], [*"abc"])["per_class"]["a"][measure]
    found = [class_interval(clustered(40, random), measure, "a") for _ in range(300)]
    assert np.mean([interval is not None and interval[0] <= true <= interval[1] for interval in found]) >= 0.9
