"""The report's chapter about runs that give labels: scores, thresholds, few and many labels, and pairs of runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from finished import finished_history, finished_record, write_finished_run
from lamina.charts.chapter import Chapter
from lamina.errors import UserError
from lamina.maths.label_scores import label_scores
from lamina.results.metrics import FEW_CLASSES
from lamina.tasks.columns import probability
from lamina.tasks.multilabel.results import joined_labels
from lamina.tasks.registry import TASKS
from pages import words
from systems import LABELS, NETWORK

PICTURES = 60


def write_run(
    system: Path, name: str, labels: int, noise: float, *, origins: int = 30, pictures: int = PICTURES
) -> Path:
    """Write what training and evaluation leave of a run whose labels are guessed with some noise."""
    random, names = np.random.default_rng(labels), [f"label {place:02d} & <co>" for place in range(labels)]
    truth = random.random((pictures, labels)) < 0.4
    shares = np.clip(truth * 0.6 + 0.2 + random.normal(0, noise, truth.shape), 0, 1)
    ids, origin = [f"{n:016x}" for n in range(pictures)], np.array([f"slide {n % origins}" for n in range(pictures)])
    scores = label_scores(shares, truth, origin, np.full(labels, 0.5), names)
    held: dict[str, Any] = {"labels": joined_labels(truth, names), "predicted": joined_labels(shares >= 0.5, names)}
    table = pd.DataFrame({"id": ids, "origin": origin, **held})
    return write_finished_run(
        system,
        finished_record(name, NETWORK | LABELS | {"targets": ["seen", "too"]}, classes=names),
        metrics={"test": scores, "validation": scores},
        history=finished_history("f1"),
        predictions=table.join(pd.DataFrame(shares, columns=[*map(probability, names)])),
        numbers={"learning_rate": 0.001},
        trials=pd.DataFrame(columns=["number", "state", "value", "learning_rate", "epochs"]),
        seconds={"train": 12.0},
        sheets={"sheets/labels": Image.new("RGB", (300, 90), (9, 9, 99))},
    )


def chapter_of(system: Path, *names: str) -> Chapter:
    return TASKS["multilabel"].chapter(system, names, None)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = tmp_path_factory.mktemp("system")
    write_run(system, "vague", 3, 0.5)
    write_run(system, "sharp", 3, 0.1)
    return system


def test_the_best_run_is_first_and_compared_with_the_labels_of_most_pictures(system: Path) -> None:
    chapter = chapter_of(system, "vague", "sharp")
    assert list(chapter.runs) == ["sharp", "vague"]
    assert chapter.best.startswith("best sharp with a test f1 of 1")
    board = words(chapter.board)
    assert "always the most frequent labels: " in board
    assert "Higher is better. Intervals are counted over origins: 60 test rows of 30 origins." in board
    assert "Runs that share a letter as their group cannot be distinguished" in board
    assert "(above 0 the row is better)" in words(chapter.certainty)


def test_the_section_of_a_run_has_a_row_per_label(system: Path) -> None:
    section = chapter_of(system, "vague").runs["vague"]
    shown = words(section)
    for heading in ("F1 per example", "Mean average precision (no threshold)", "All labels right"):
        assert heading in shown
    for place in range(3):
        assert f"label {place:02d} &amp; &lt;co&gt;" in section
    assert "more are in metrics.json" not in shown
    assert "seen, too" in shown, "the settings are listed in words"
    assert section.count("<svg") == 2, "loss and F1"
    assert "the true ones, then those that were missed or wrongly given" in shown


def test_of_many_labels_the_worst_are_shown(tmp_path: Path) -> None:
    write_run(tmp_path, "many", FEW_CLASSES + 7, 0.4)
    section = chapter_of(tmp_path, "many").runs["many"]
    assert "the lowest F1 first, 7 more are in metrics.json" in words(section)
    assert section.count('<th scope="row">label ') == FEW_CLASSES


def test_a_single_run_of_one_origin_has_neither_intervals_nor_pairs(tmp_path: Path) -> None:
    write_run(tmp_path, "alone", 2, 0.4, origins=1)
    chapter = chapter_of(tmp_path, "alone")
    assert "95 % interval 0" not in chapter.board
    assert "Group" not in words(chapter.board)


def test_runs_of_other_test_pictures_are_not_compared(system: Path, tmp_path: Path) -> None:
    write_run(tmp_path, "vague", 3, 0.5)
    write_run(tmp_path, "other", 3, 0.5, pictures=12)
    with pytest.raises(UserError, match="other"):
        chapter_of(tmp_path, "vague", "other")
