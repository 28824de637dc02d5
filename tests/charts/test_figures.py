"""Figures: what is drawn, on which scale, and as which markup."""

import re

import numpy as np
import pandas as pd
import pytest

from lamina.charts import figures


def test_a_curve_survives_what_training_can_leave() -> None:
    history = pd.DataFrame({"epoch": [1], "train_loss": [np.inf], "validation_loss": [np.nan]})
    drawn = figures.svg(figures.curve(history, "loss"), 'of "x" & y', "salt")
    assert 'aria-label="of &#34;x&#34; &amp; y"' in drawn
    assert drawn.startswith("<svg")
    assert drawn.endswith("</svg>")


@pytest.mark.parametrize(
    ("varied", "values"),
    [("learning rate", {"learning_rate": [1e-4, 1e-2]}), ("dropout", {"dropout": [0.1, 0.5]}), ("learning rate", {})],
)
def test_trials_are_drawn_over_the_number_that_was_tuned(varied: str, values: dict[str, list[float]]) -> None:
    trials = {"number": [0, 1], "state": ["COMPLETE", "PRUNED"], "value": [0.8, 0.7]}
    numbers = {"learning_rate": [1e-3, 1e-3], "dropout": [0.3, 0.3], "decay": [0.0, 0.0], **values}
    drawn = figures.svg(figures.scatter(pd.DataFrame({**trials, **numbers, "epochs": 4})), "trials", "salt")
    assert f"Trials: validation accuracy by {varied}<" in drawn


@pytest.mark.parametrize(("measure", "best"), [("accuracy", [50, 70, 70]), ("mse", [50, 50, 50])])
def test_the_best_so_far_is_of_trials_that_ran_to_the_end(measure: str, best: list[float]) -> None:
    states = ["PRUNED", "COMPLETE", "COMPLETE", "PRUNED"]
    extreme = 90.0 if measure == "accuracy" else 10.0
    trials = pd.DataFrame({"number": range(4), "state": states, "value": [extreme, 50, 70, extreme]})
    axes = figures.trials_in_order(trials, measure).axes[0]
    drawn = axes.lines[0].get_ydata()
    assert np.isnan(drawn[0])
    assert list(drawn)[1:] == best
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"best so far"}


def test_the_ring_marks_the_lowest_error_of_those_that_ran_to_the_end() -> None:
    states = ["PRUNED", "COMPLETE", "COMPLETE", "PRUNED"]
    trials = pd.DataFrame({"number": range(4), "state": states, "value": [10.0, 90, 70, 20]})
    trials = trials.assign(learning_rate=[1e-4, 1e-3, 1e-2, 2e-2], dropout=0.0, decay=0.0, epochs=4)
    drawn = figures.scatter(trials, "mse").axes[0]
    assert drawn.get_title(loc="left") == "Trials: validation MSE by learning rate"
    assert drawn.collections[-1].get_offsets().tolist() == [[1e-2, 70.0]], "the ring"


@pytest.mark.parametrize(("first", "scale"), [(9000.0, "log"), (300.0, "linear"), (np.inf, "linear")])
def test_a_curve_is_logarithmic_only_where_one_epoch_would_press_the_others_flat(first: float, scale: str) -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_mse": [first, 150, 120], "validation_mse": [first, 160, 130]})
    axes = figures.curve(history, "mse", level=("grey", 140.0)).axes[0]
    assert axes.get_yscale() == scale
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "validation", "grey"]


def test_the_loss_of_a_classifier_stays_linear() -> None:
    names = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    history = pd.DataFrame({"epoch": [1, 2, 3]} | {name: [100.0, 0.5, 0.2] for name in names})
    assert figures.curve(history, "loss").axes[0].get_yscale() == "linear"


def test_the_same_figure_and_salt_are_the_same_bytes() -> None:
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_loss": [2.0, 1.5]})
    one, two, other = (figures.svg(figures.curve(history, "loss"), "alt", salt) for salt in ("a", "a", "b"))
    assert one == two
    assert "var(--violet)" in one
    assert "#5b3fa8" not in one, "colors are those of the page"
    assert set(_ids(one)).isdisjoint(_ids(other)), "names inside figures of one page differ"


def _ids(drawn: str) -> list[str]:
    return [part.split('"')[0] for part in drawn.split(' id="')[1:]]


def test_numbers_at_the_axes_keep_their_digits() -> None:
    trials = pd.DataFrame({"number": [0, 1], "state": "COMPLETE", "value": [0.8, 0.7]})
    trials = trials.assign(learning_rate=[1e-4, 1e-2], epochs=4)
    drawn = figures.svg(figures.scatter(trials), "trials", "salt")
    assert ">0.001<" in drawn


def test_no_share_is_marked_beyond_0_and_100_percent() -> None:
    trials = pd.DataFrame({"number": range(3), "state": "COMPLETE", "value": 1.0, "learning_rate": [1e-4, 1e-3, 1e-2]})
    trials = trials.assign(dropout=0.0, decay=0.0, epochs=4)
    sure = pd.DataFrame({"confidence": [0.999, 1.0], "accuracy": [1.0, 1.0], "pictures": [2, 8]})
    wide = pd.DataFrame({"epoch": [1, 2, 3], "train_accuracy": [0.0, 0.5, 1.0], "validation_accuracy": [0.0, 0.4, 0.9]})
    drawn = [figures.scatter(trials), figures.trials_in_order(trials), figures.reliability(sure)]
    for figure in [*drawn, figures.curve(wide, "accuracy"), figures.curve(wide.iloc[2:], "accuracy")]:
        marks = re.findall(r">([^<>]+) %</text>", figures.svg(figure, "alt", "salt"))
        assert marks
        assert all(0 <= float(mark.replace("\N{MINUS SIGN}", "-")) <= 100 for mark in marks), marks
