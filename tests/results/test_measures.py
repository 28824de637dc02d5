"""Labels and numbers in the gate: a loss bites, noise is kept, and another truth is not compared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.errors import UserError
from lamina.results.baselines import baseline_path, baseline_text, change, read_baseline, read_present
from lamina.results.judgement import judge
from lamina.results.measure_names import HIGHER_IS_BETTER
from lamina.results.measures import MEASURES, Answers, Measure

F1, MAE = MEASURES["f1"], MEASURES["mae"]
COUNT = 120
ORIGINS = {f"{number:06d}": f"origin {number // 2}" for number in range(COUNT)}
RANDOM = np.random.default_rng(4)
TARGETS = RANDOM.normal(50, 10, COUNT)
ERRORS = RANDOM.normal(0, 3, COUNT)
LABELS = [["cat|dog", "cat", "", "bird|cat|dog"][number % 4] for number in range(COUNT)]


def answers(measure: Measure, truth: Sequence[object], predicted: Sequence[object]) -> Answers:
    return {key: measure.cells(pair) for key, pair in zip(ORIGINS, zip(truth, predicted, strict=True), strict=True)}


def numbers(errors: np.ndarray, targets: np.ndarray = TARGETS) -> Answers:
    return answers(MAE, targets.tolist(), (targets + errors).tolist())


def labels(predicted: Sequence[str], truth: Sequence[str] = LABELS) -> Answers:
    return answers(F1, truth, predicted)


def test_every_measure_says_where_better_values_lie() -> None:
    assert HIGHER_IS_BETTER.keys() == MEASURES.keys()
    assert {name for name, measure in MEASURES.items() if measure.higher_is_better} == {"accuracy", "f1"}


def verdict(measure: Measure, before: Answers, after: Answers) -> tuple[bool, str]:
    found = measure.change(before, after, ORIGINS)
    return judge(found, found.p, measure)


def test_intervals_hold_values_that_can_be() -> None:
    def shown(measure: Measure, truth: Sequence[object], predicted: Sequence[object]) -> str:
        some = {key: measure.cells(pair) for key, pair in zip("abc", zip(truth, predicted, strict=True), strict=True)}
        return measure.change(some, some, {key: key for key in some}).shown[1]

    assert shown(F1, ["cat", "cat", "cat|dog"], ["cat"] * 3).endswith(", 1.000]"), "no F1 is above 1"
    assert shown(F1, ["cat"] * 3, ["cat"] * 3) == "1.000 [0.439, 1.000]", "three are no certainty"
    assert "[0, " in shown(MAE, [0.0] * 3, [0.0, 0.0, 9.0]), "no error is below 0"


# ---- numbers


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_larger_errors_are_a_regression_in_any_unit(unit: float) -> None:
    before, after = (numbers(unit * errors, unit * TARGETS) for errors in (ERRORS, 1.2 * ERRORS))
    found = MAE.change(before, after, ORIGINS)
    assert found.before == pytest.approx(unit * np.abs(ERRORS).mean(), rel=1e-4)
    assert (found.loss, found.error) == (pytest.approx(0.2, rel=1e-3), 1.0)
    assert (found.better, found.worse) == (0, COUNT)
    assert verdict(MAE, before, after) == (True, "regressed: 20 % worse, more than the margin of 2 %")
    assert not verdict(MAE, after, before)[0]


def test_errors_within_the_margin_and_rounding_are_kept() -> None:
    assert not verdict(MAE, numbers(ERRORS), numbers(1.015 * ERRORS))[0]
    found = MAE.change(numbers(ERRORS), numbers(ERRORS * (1 + 1e-5)), ORIGINS)
    assert (found.better, found.worse) == (0, 0)
    assert verdict(MAE, numbers(ERRORS), numbers(ERRORS)) == (False, "kept")


def test_errors_of_numbers_far_from_0_are_not_rounded_away() -> None:
    targets, errors = 1_234_560 + TARGETS, ERRORS / 10
    found = MAE.change(*(numbers(errors, targets) for _ in range(2)), ORIGINS)
    assert found.before == pytest.approx(np.abs(errors).mean(), rel=0.02)
    old = {key: (f"{float(true):.7g}", f"{float(said):.7g}") for key, (true, said) in numbers(errors, targets).items()}
    found = MAE.change(old, numbers(errors, targets), ORIGINS)  # a baseline of an older version has seven digits
    assert found.after == pytest.approx(np.abs(errors).mean(), rel=0.02)


def test_another_true_number_is_not_compared() -> None:
    other = TARGETS.copy()
    other[7] += 0.5
    with pytest.raises(UserError, match=r"^1 examples have other true answers \(000007, \.\.\.\); --accept renews"):
        MAE.change(numbers(ERRORS), numbers(ERRORS, other), ORIGINS)


@pytest.mark.parametrize("cells", [(1.0, float("inf")), (float("nan"), 1.0), (None, 1.0), ("a", 1.0)], ids=str)
def test_what_are_no_numbers_is_refused(cells: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"finite|float"):
        MAE.cells(cells)


# ---- labels


def test_the_f1_of_labels_is_that_of_each_picture() -> None:
    found = F1.change(labels(LABELS), labels(["cat"] * COUNT), ORIGINS)
    assert (found.before, found.after) == (1.0, pytest.approx((2 / 3 + 1 + 0 + 1 / 2) / 4))
    assert F1.value(labels(["cat"] * COUNT)) == pytest.approx(found.after)
    assert (found.better, found.worse) == (0, 90)


def test_missed_labels_are_a_regression_and_a_few_are_kept() -> None:
    before = [*["cat"] * 40, *LABELS[40:]]
    assert verdict(F1, labels(before), labels(["cat"] * 80 + LABELS[80:]))[0]
    few = [*before[:-4], "dog", "cat", "", "bird|cat|dog"]
    assert not verdict(F1, labels(before), labels(few))[0]
    assert not verdict(F1, labels(["cat"] * COUNT), labels(LABELS))[0], "better"


def test_another_label_is_not_compared_and_another_order_is() -> None:
    turned = ["|".join(reversed(cell.split("|"))) for cell in LABELS]
    assert F1.change(labels(LABELS), labels(turned, turned), ORIGINS).is_none
    with pytest.raises(UserError, match=r"^30 examples have other true answers"):
        F1.change(labels(LABELS), labels(LABELS, [cell or "cat" for cell in LABELS]), ORIGINS)


def test_labels_are_text() -> None:
    with pytest.raises(ValueError, match="expected labels"):
        F1.cells(("cat", None))


# ---- files


@pytest.mark.parametrize("measure", [F1, MAE], ids=["labels", "numbers"])
def test_a_baseline_holds_what_was_accepted(measure: Measure, tmp_path: Path) -> None:
    truth, predicted = (LABELS, ["", *LABELS[1:]]) if measure is F1 else (TARGETS, TARGETS + ERRORS)
    table = pd.DataFrame(
        {"id": list(ORIGINS), "origin": list(ORIGINS.values()), "labels": truth, "predicted": predicted}
    )
    path = tmp_path / "models" / "run" / "predictions.parquet"
    path.parent.mkdir(parents=True)
    table.rename(columns={"labels": measure.columns[0]}).to_parquet(path)
    present, origins = read_present(tmp_path, "run", measure)
    assert origins == ORIGINS
    baseline_path(tmp_path, "run").parent.mkdir()
    baseline_path(tmp_path, "run").write_text(baseline_text(present, measure))
    assert read_baseline(tmp_path, "run", measure) == present
    assert change(tmp_path, "run", measure).is_none
