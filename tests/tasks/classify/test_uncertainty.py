"""What evaluation measures of the doubt of answers, and how it judges it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.results.uncertainty import Uncertainty, find_judge
from lamina.tasks.classify.evaluation import judge
from lamina.tasks.classify.results import ClassScores
from lamina.tasks.classify.scores import Metrics
from lamina.tasks.classify.uncertainty import measure_uncertainty, reference_rows
from uncertain import KEY, TWO, predicted, write_doubt


def test_the_scores_of_before_keep_their_keys_and_new_ones_are_plain_numbers() -> None:
    known = measure_uncertainty(predicted(300, seed=1), TWO, KEY)
    validation, test = judge(predicted(300, seed=1), list(TWO)), judge(predicted(400, seed=2), list(TWO), known)
    before = ClassScores.model_validate(test.model_dump())
    assert before.model_dump().items() <= test.model_dump().items()
    assert before.scalars().items() <= test.scalars().items()
    metrics = Metrics(test=test, validation=validation)
    found = metrics.scalars()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    new = {"roc_auc", "kappa_low", "scaled_ece", "sets_coverage_high", "sets_by_class_mean_size", "outliers", "aurc"}
    assert {f"test_{name}" for name in new} <= set(found)
    assert "validation_roc_auc" in found
    assert "validation_sets_coverage" not in found, "what was measured there is not judged there"
    assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_sets_and_marks_hold_on_the_test_fold() -> None:
    known = measure_uncertainty(predicted(400, seed=1), TWO, KEY)
    test = judge(predicted(2000, seed=2), list(TWO), known)
    assert test.sets
    assert test.outliers
    assert test.sets.coverage == pytest.approx(0.9, abs=0.04)
    assert test.outliers.share == pytest.approx(0.05, abs=0.03)
    assert test.outliers.interval[0] < test.outliers.wanted < test.outliers.interval[1]


def test_few_origins_promise_a_smaller_share_within_the_limit() -> None:
    validation = predicted(60, seed=1, per_origin=6)
    known = measure_uncertainty(validation, TWO, KEY).neighborhood
    assert known
    assert (known.origins, known.share) == (10, pytest.approx(10 / 11))
    assert known.limit == validation["distance"].max()


def test_the_file_says_what_was_measured(tmp_path: Path) -> None:
    known = write_doubt(tmp_path, predicted(12, seed=3))
    there = find_judge(tmp_path, KEY)
    assert there
    assert there.known == known
    assert isinstance(there.known, Uncertainty)
    values = json.loads((tmp_path / "uncertainty/uncertainty.json").read_text())
    assert values["limits"]["cat"]["origins"] == 12
    assert values["limits_by_class"]["cat"]["value"] is None
    table = there.table(np.array([[0.2, 0.8]]), np.array([9.0]))
    assert list(table) == list(there.columns)
    assert table["outlier:mark"].tolist() == [True]
    assert table[["scaled:cat", "scaled:dog"]].sum(axis=1).to_numpy() == pytest.approx(1)


def test_the_reference_holds_as_many_of_every_class_and_no_copies() -> None:
    rows = pd.DataFrame({"id": [f"{number:03d}" for number in range(100)], "copy": 0, "fold": "train"})
    rows["label"] = np.where(rows.index < 90, "many", "few")
    rows = pd.concat([rows, rows.assign(copy=1), rows.assign(id="x", fold="test")], ignore_index=True)
    chosen = reference_rows(rows, 30)
    assert chosen["label"].value_counts().to_dict() == {"many": 20, "few": 10}
    assert chosen["copy"].eq(0).all()
    assert len(reference_rows(rows)) == 100
    shuffled = rows.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(reference_rows(shuffled, 30).reset_index(drop=True), chosen.reset_index(drop=True))
