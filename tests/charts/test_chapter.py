"""The chapter of a task that has no page of its own: any measure, either direction."""

from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from PIL import Image

from finished import finished_history, finished_record, run_settings, write_finished_run
from lamina.charts.formatting import title_of
from lamina.charts.plain import plain_chapter
from lamina.files import read_json, write_json
from lamina.results.metrics import Metrics, Scores
from lamina.results.trained import TrainedRun, read_trained
from pages import words


class ErrorScores(Scores):
    """Scores of a task with one measure."""

    measure: ClassVar[str] = "mse"

    mse: float


class ErrorMetrics(Metrics):
    """`metrics.json` of that task."""

    test: ErrorScores
    validation: ErrorScores


class RateScores(Scores):
    """Scores of a task of which more is better."""

    measure: ClassVar[str] = "accuracy"

    accuracy: float


class RateMetrics(Metrics):
    """`metrics.json` of that task."""

    test: RateScores
    validation: RateScores


def finished(system: Path, name: str, kind: type[Metrics], value: float, *, assessed: bool = False) -> TrainedRun:
    """Write and read a run with this value of its measure."""
    measure = kind.model_fields["test"].annotation.measure  # type: ignore[union-attr]
    scores = {measure: value, "interval": [0.9 * value, 1.1 * value], "n": 8, "origins": 1}
    trials = pd.DataFrame({"number": [0, 1], "state": "COMPLETE", "value": [value, value]})
    spread = {"values": [value], "mean": value, "deviation": None}
    repeats = {"repeats": {"seeds": [2], "test": spread, "validation": spread}}
    write_finished_run(
        system,
        finished_record(name, run_settings("network")),
        metrics={"test": scores, "validation": scores},
        history=finished_history(measure),
        predictions=pd.DataFrame({"id": ["a"], "origin": ["a"]}),
        trials=trials.assign(learning_rate=[1e-4, 1e-3], epochs=4),
        numbers={"learning_rate": 1e-3},
        seconds={"train": 1.5},
        assessment=repeats if assessed else None,
        sheets={"sheets/some_pictures": Image.new("RGB", (30, 9))},
    )
    return read_trained(system, name, kind)


@pytest.mark.parametrize(
    ("kind", "higher_is_better", "best"), [(ErrorMetrics, False, "low"), (RateMetrics, True, "high")]
)
def test_runs_are_ranked_by_their_measure(
    tmp_path: Path, kind: type[Metrics], higher_is_better: bool, best: str
) -> None:
    runs = [finished(tmp_path, name, kind, value) for name, value in {"low": 0.25, "high": 0.5}.items()]
    chapter = plain_chapter("Counts", "counts", runs, higher_is_better=higher_is_better)
    assert (chapter.title, chapter.anchor, chapter.record.run) == ("Counts", "counts", best)
    assert next(iter(chapter.runs)) == best
    measure = runs[0].metrics.test.measure
    value = {"low": 0.25, "high": 0.5}[best]
    assert chapter.best == f"best {best} with a test {measure} of {value:.4g}"
    span = f"{0.9 * value:.3f} to {1.1 * value:.3f}"
    score = f"a test {title_of(measure)} of {value:.3f} (95 % interval {span})"
    assert words(chapter.lead) == f"Counts: best {best} with {score}."
    assert f"Test {title_of(measure)}" in words(chapter.board)
    assert "8 test rows of 1 origin" in words(chapter.board)
    assert not chapter.certainty.strip(), "nothing was trained again"


def test_a_run_shows_curves_sheets_settings_and_tuning(tmp_path: Path) -> None:
    run = finished(tmp_path, "one", ErrorMetrics, 0.25, assessed=True)
    chapter = plain_chapter("Counts", "counts", [run])
    shown = chapter.runs["one"]
    assert shown.count("<svg ") == 4, "loss and measure; trials in order and by a number"
    assert 'width="30" height="9" alt="Contact sheet of one: some pictures"' in shown
    text = words(shown)
    for part in ("classify input: pixels small_cnn start: weights/random", "test MSE 0.250", "train 1.5 s", "Tuning"):
        assert part in text
    assert "Counts: test MSE of runs that were trained again" in words(chapter.certainty)
    assert words(chapter.certainty).endswith("Run Other seeds Each one 0.250 0.250"), "no column is empty"


@pytest.mark.parametrize("passed", [True, False])
def test_a_control_of_targets_is_shown_and_is_loud_where_it_fails(tmp_path: Path, passed: bool) -> None:
    control = {
        "measure": "mse",
        "value": 0.5,
        "chance": 0.6,
        "interval": [0.4, 0.8],
        "p": 0.2,
        "passed": passed,
        "n": 8,
    }
    for name in ("one", "two"):
        finished(tmp_path, name, ErrorMetrics, 0.25, assessed=True)
    path = tmp_path / "models/two/assessment.json"
    write_json(path, read_json(path) | {"control": control})
    chapter = plain_chapter("Counts", "counts", [read_trained(tmp_path, name, ErrorMetrics) for name in ("one", "two")])
    shown, sound = words(chapter.certainty), "Counts: with shuffled targets nothing was learned"
    alarm = "Counts: two: shuffled targets were predicted better than by chance. Training sees what it is tested with"
    assert (sound in shown, alarm in shown) == (passed, not passed)
    assert ('class="number alarm"' in chapter.certainty) == (not passed)
    assert f"two 0.250 0.250 0.500{'' if passed else ' ✗'} 0.600 0.400 to 0.800" in shown
    assert "one 0.250 0.250 \N{EN DASH} \N{EN DASH}" in shown


def test_curves_of_a_small_unit_are_described_by_their_values(tmp_path: Path) -> None:
    folder = finished(tmp_path, "tiny", ErrorMetrics, 4e-8).folder
    history = finished_history("mse")
    history[["train_mse", "validation_mse"]] *= 1e-6
    history.to_csv(folder / "history.csv", index=False)
    chapter = plain_chapter("Errors", "errors", [read_trained(tmp_path, "tiny", ErrorMetrics)])
    assert "at the end: train 2.5e-07, validation 2.5e-07" in chapter.runs["tiny"]
    assert "4e-08" in chapter.board
