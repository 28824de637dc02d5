"""Tables of classifiers: confusion, mistakes, and the axis that all runs share."""

import pandas as pd
import pytest

from finished import class_scores
from lamina.results.metrics import FEW_CLASSES
from lamina.results.trained import TrainedRun
from lamina.tasks.classify import tables
from lamina.tasks.classify.results import ClassScore, ClassScores


def test_a_confusion_matrix_holds_every_row_once_and_its_rows_sum_to_one() -> None:
    labels = ["a"] * 5 + ["b"] * 3 + ["c"] * 2
    predicted = ["a", "a", "b", "c", "a", "b", "b", "a", "c", "c"]
    predictions = pd.DataFrame({"label": labels, "predicted": predicted})
    matrix = tables.confusion(predictions, ["a", "b", "c"])
    assert [[cell.count for cell in row] for row in matrix] == [[3, 1, 1], [1, 2, 0], [0, 0, 2]]
    for row in matrix:
        assert sum(cell.share for cell in row) == pytest.approx(1)


def test_a_class_without_test_pictures_has_an_empty_row() -> None:
    predictions = pd.DataFrame({"label": ["a", "a"], "predicted": ["a", "b"]})
    matrix = tables.confusion(predictions, ["a", "b"])
    assert [cell.count for cell in matrix[1]] == [0, 0]
    assert [cell.share for cell in matrix[1]] == [0, 0]


def test_pairs_of_confused_classes_come_most_frequent_first_with_their_share() -> None:
    labels, predicted = ["a"] * 4 + ["b"] * 2 + ["c"] * 3, ["a", "b", "b", "c", "c", "b", "a", "a", "c"]
    found = tables.confused(pd.DataFrame({"label": labels, "predicted": predicted}))
    assert [(pair.label, pair.predicted, pair.count) for pair in found] == [
        ("c", "a", 2),
        ("a", "b", 2),
        ("b", "c", 1),
        ("a", "c", 1),
    ]
    assert [pair.share for pair in found] == pytest.approx([2 / 3, 1 / 2, 1 / 2, 1 / 4])
    assert tables.confused(pd.DataFrame({"label": ["a"], "predicted": ["a"]})) == []


def test_of_many_classes_those_with_the_lowest_f1_are_listed() -> None:
    names = [f"class {number:03d}" for number in range(FEW_CLASSES + 5)]
    scores = {name: ClassScore(precision=0.5, recall=0.5, f1=1 - place / 100, n=4) for place, name in enumerate(names)}
    assert tables.listed(scores, names) == names[:4:-1]
    assert tables.listed(scores, names[:FEW_CLASSES]) == names[:FEW_CLASSES], "few stay in their order"


def test_mistakes_are_wrong_and_come_most_confident_first() -> None:
    predictions = pd.DataFrame(
        {
            "id": ["1", "2", "3", "4"],
            "label": ["a", "a", "b", "b"],
            "predicted": ["a", "b", "a", "a"],
            "p:a": [0.99, 0.2, 0.9, 0.9],
            "p:b": [0.01, 0.8, 0.1, 0.1],
        }
    )
    found = tables.mistakes(predictions, ["a", "b"], most=12)
    assert [(mistake.id, mistake.probability) for mistake in found] == [("3", 0.9), ("4", 0.9), ("2", 0.8)]
    assert [mistake.id for mistake in tables.mistakes(predictions, ["a", "b"], most=1)] == ["3"]


class Run:
    """A run as far as the axis needs it."""

    def __init__(self, interval: tuple[float, float] | None, majority: float) -> None:
        scores = class_scores(interval[0] if interval else 0.6, ["a"], interval=interval, majority=majority)
        self.metrics = type("Metrics", (), {"test": ClassScores.model_validate(scores)})


@pytest.mark.parametrize(
    ("interval", "majority", "low", "high"),
    [
        ((0.52, 0.67), 0.31, 0.3, 0.7),
        ((0.93, 1.0), 0.95, 0.9, 1.0),
        ((0.0, 1.0), 0.5, 0.0, 1.0),
        (None, 0.5, 0.5, 0.6),
    ],
)
def test_the_axis_holds_values_intervals_and_majority(
    interval: tuple[float, float] | None, majority: float, low: float, high: float
) -> None:
    runs: list[TrainedRun] = [Run(interval, majority)]  # type: ignore[list-item]
    scale = tables.scale(runs)
    assert (scale.low, scale.high) == pytest.approx((low, high))
    assert scale.place(scale.low) == 0
    assert scale.place(scale.high) == 100
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in scale.ticks)
