"""Answers with their doubt: sets, scaled probabilities, marks, and decisions by recall and by cost."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from finished import finished_record, run_settings
from lamina.errors import UserError
from lamina.maths.calibration import calibration
from lamina.maths.temperature import scaled
from lamina.results.result_file import read_table
from lamina.tasks.classify.answers import ClassAnswers
from lamina.tasks.classify.uncertainty import columns
from lamina.tasks.wish import Wish
from uncertain import TWO, predicted, write_doubt

THREE = ("cat", "dog", "owl")


def answers_of(folder: Path, classes: Sequence[str], wish: Wish, *, key: str = "a") -> ClassAnswers:
    return ClassAnswers(folder, finished_record("run", run_settings("head"), classes=classes, key=key), wish)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two classes, evaluated on 400 pictures of validation and 2000 of test."""
    folder = tmp_path_factory.mktemp("models") / "run"
    write_doubt(folder, predicted(400, seed=1))
    predicted(2000, seed=2, distance=False).to_parquet(folder / "predictions.parquet", index=False)
    return folder


def test_sets_hold_the_class_as_often_as_wanted(run: Path) -> None:
    shares, truth, _ = columns(predicted(4000, seed=3), TWO)
    for wish, wanted in ((Wish(), 0.9), (Wish(coverage=0.7), 0.7), (Wish(coverage=0.95, by_class=True), 0.95)):
        given = answers_of(run, TWO, wish).given(shares, np.zeros(len(shares)))
        held = [TWO[number] in one["set"] for number, one in zip(truth, given, strict=True)]
        assert np.mean(held) == pytest.approx(wanted, abs=0.05)
    probabilities = [one["probabilities"] for one in given]
    assert [one["predicted"] for one in given] == [max(row, key=row.__getitem__) for row in probabilities]
    assert probabilities[0] == dict(zip(TWO, shares[0], strict=True)), "not the scaled ones"


def test_the_scaled_probabilities_are_better_calibrated(tmp_path: Path) -> None:
    validation, test = predicted(500, seed=5), predicted(1000, seed=6)
    for table in (validation, test):
        table[["p:cat", "p:dog"]] = scaled(table[["p:cat", "p:dog"]].to_numpy(), 1 / 3)
    known = write_doubt(tmp_path, validation)
    assert known.temperature == pytest.approx(3, rel=0.2)
    shares, truth, origin = columns(test, TWO)
    given = answers_of(tmp_path, TWO, Wish()).given(shares, np.zeros(len(shares)))
    found = np.array([[one["scaled"][name] for name in TWO] for one in given])
    assert calibration(found, truth, origin)["ece"] < calibration(shares, truth, origin)["ece"] / 2
    test.to_parquet(tmp_path / "predictions.parquet", index=False)
    costly = answers_of(tmp_path, TWO, Wish(cost=("dog", 4))).given(shares, None)
    assert [one["predicted"] == "dog" for one in costly] == [one["scaled"]["dog"] >= 1 / 5 for one in costly]


def test_a_picture_beyond_the_limit_is_marked(run: Path) -> None:
    answers = answers_of(run, TWO, Wish())
    assert answers.needs_features
    given = answers.given(np.array([[0.9, 0.1]] * 2), np.array([0.2, 1.2]))
    assert [one["outlier"] for one in given] == [False, True]
    assert answers.judge
    near, far = answers.judge.distances(np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0.5, -0.5]]))
    assert (near, far) == pytest.approx((0, 1), abs=1e-3)


def test_a_wanted_recall_is_kept_on_new_pictures(run: Path) -> None:
    answers = answers_of(run, TWO, Wish(recall=("dog", 0.95)))
    shares, truth, _ = columns(predicted(4000, seed=7), TWO)
    found = np.array([one["predicted"] == "dog" for one in answers.given(shares, None)])
    assert found[truth == 1].mean() == pytest.approx(0.95, abs=0.03)
    assert found.mean() > (shares[:, 1] > 0.5).mean()
    (note,) = answers.notes
    assert note.startswith("dog from a probability of 0.")
    assert "on the test fold: recall 9" in note


def test_costs_move_the_decision_to_the_cheaper_side(run: Path) -> None:
    shares, truth, _ = columns(predicted(4000, seed=8), TWO)

    def cost(wish: Wish) -> float:
        found = np.array([one["predicted"] == "dog" for one in answers_of(run, TWO, wish).given(shares, None)])
        return float(9 * np.sum(~found & (truth == 1)) + np.sum(found & (truth == 0)))

    assert cost(Wish(cost=("dog", 9))) < 0.8 * cost(Wish())
    assert cost(Wish(cost=("cat", 1))) == pytest.approx(cost(Wish()), rel=0.02)


def test_few_origins_are_said_and_give_full_sets(tmp_path: Path) -> None:
    write_doubt(tmp_path, predicted(48, seed=4, per_origin=6))
    answers = answers_of(tmp_path, TWO, Wish())
    assert answers.notes == [
        "a coverage of 90% needs 9 origins in the validation fold, which has 8: every set holds all classes"
    ]
    assert answers.given(np.array([[1.0, 0.0]]), np.zeros(1))[0]["set"] == ["cat", "dog"]
    assert not answers_of(tmp_path, TWO, Wish(coverage=0.8)).notes
    with pytest.raises(UserError, match=r"^--recall dog=0\.9 needs 9 origins of dog in the validation fold, which has"):
        answers_of(tmp_path, TWO, Wish(recall=("dog", 0.9)))


def test_a_class_without_validation_pictures_is_in_every_set_of_its_own_limit(tmp_path: Path) -> None:
    validation = predicted(200, THREE, seed=9)
    validation = validation[validation["label"] != "owl"]
    write_doubt(tmp_path, validation, THREE)
    answers = answers_of(tmp_path, THREE, Wish(by_class=True))
    assert answers.notes == [
        "a coverage of 90% by class needs 9 origins of each in the validation fold (owl 0): "
        "these classes are in every set"
    ]
    assert "owl" in answers.given(np.array([[1.0, 0.0, 0.0]]), np.zeros(1))[0]["set"]


@pytest.mark.parametrize(
    ("classes", "wish"), [(TWO, Wish(recall=("owl", 0.9))), (THREE, Wish(cost=("owl", 2.0)))], ids=["class", "three"]
)
def test_a_decision_is_between_two_classes(tmp_path: Path, classes: tuple[str, ...], wish: Wish) -> None:
    write_doubt(tmp_path, predicted(60, classes), classes)
    with pytest.raises(UserError, match="--recall and --cost choose between two classes and name one of them"):
        answers_of(tmp_path, classes, wish)


@pytest.mark.parametrize("key", [None, "b"], ids=["by an earlier lamina", "before another training"])
def test_a_run_that_was_evaluated_before_answers_without_doubt(tmp_path: Path, key: str | None) -> None:
    if key:
        write_doubt(tmp_path, predicted(60))
    given = answers_of(tmp_path, TWO, Wish(), key=key or "a").given(np.array([[0.25, 0.75]]), None)
    assert given == [{"predicted": "dog", "probabilities": {"cat": 0.25, "dog": 0.75}}]
    with pytest.raises(UserError, match=r"uncertainty: not measured since the training; run `dvc repro evaluate@"):
        answers_of(tmp_path, TWO, Wish(coverage=0.8), key=key or "a")


def test_texts_have_no_distance(tmp_path: Path) -> None:
    write_doubt(tmp_path, predicted(60, distance=False))
    answers = answers_of(tmp_path, TWO, Wish())
    assert not answers.needs_features
    assert set(answers.given(np.array([[0.5, 0.5]]), None)[0]) == {"predicted", "probabilities", "scaled", "set"}
    assert "distance" not in read_table(tmp_path / "uncertainty/validation.parquet", ("id",), "evaluate")
