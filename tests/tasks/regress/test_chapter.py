"""The report's chapter about runs that predict a number: scores, figures, the margin, and pairs of runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finished import finished_history, finished_record, write_finished_run
from lamina.charts.chapter import Chapter
from lamina.maths.number_scores import number_scores, score_margin
from lamina.tasks.registry import TASKS
from pages import words
from systems import LEVEL, NETWORK

PICTURES = 60


def write_run(
    system: Path, name: str, noise: float, *, margin: float = 8.0, spread: float = 10.0, target_name: str = "level"
) -> Path:
    """Write what training and evaluation leave of a run that is off by some noise."""
    random = np.random.default_rng(5)
    target = 1000 + spread * random.normal(size=PICTURES)
    predicted = target + noise * random.normal(size=PICTURES)
    origin = np.array([f"slide {n % 20}" for n in range(PICTURES)])
    scores = number_scores(target, predicted, origin, 1000.0)
    held = {"held": score_margin(target, predicted, origin, margin, 0.9)}
    ids = [f"{n:016x}" for n in range(PICTURES)]
    return write_finished_run(
        system,
        finished_record(name, NETWORK | LEVEL | {"target": target_name}),
        metrics={"test": scores | held, "validation": scores},
        history=finished_history("mae"),
        predictions=pd.DataFrame({"id": ids, "origin": origin, "target": target, "predicted": predicted}),
        numbers={"learning_rate": 0.001},
        trials=pd.DataFrame(columns=["number", "state", "value", "learning_rate", "epochs"]),
    )


def chapter_of(system: Path, *names: str) -> Chapter:
    return TASKS["regress"].chapter(system, names, None)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = tmp_path_factory.mktemp("system")
    write_run(system, "vague", 12.0)
    write_run(system, "sharp", 3.0)
    return system


def test_the_best_run_is_first_and_compared_with_the_training_mean(system: Path) -> None:
    chapter = chapter_of(system, "vague", "sharp")
    assert list(chapter.runs) == ["sharp", "vague"]
    assert chapter.best.startswith("best sharp with a test mae of ")
    board = words(chapter.board)
    assert "always the training mean: " in board
    assert "Lower is better. Intervals are counted over origins: 60 test rows of 20 origins." in board
    assert "(below 0 the row is better)" in words(chapter.certainty)


def test_the_section_of_a_run_has_scores_figures_and_the_margin(system: Path) -> None:
    section = chapter_of(system, "sharp").runs["sharp"]
    shown = words(section)
    for heading in ("Mean absolute error", "Correlation of the ranks (Spearman)", "Mean of predicted minus true"):
        assert heading in shown
    assert "90 % of the numbers lie within 8.0" in shown
    assert section.count("<svg") == 4, "loss, MAE, predicted over true, residuals"
    assert "level of sharp: predicted over true, test fold" in section


def test_too_few_origins_for_a_margin_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, "run", 3.0, margin=np.inf)
    assert "The validation fold has too few origins to say how far off 90 % of the numbers are." in words(
        chapter_of(tmp_path, "run").runs["run"]
    )


def test_equal_targets_have_a_chapter_without_r2(tmp_path: Path) -> None:
    write_run(tmp_path, "run", 3.0, spread=0.0)
    shown = words(chapter_of(tmp_path, "run").runs["run"])
    assert "Root of the mean squared error" in shown
    assert "share of the squared deviations" not in shown


def test_runs_of_other_targets_are_not_compared(tmp_path: Path) -> None:
    for name, noise, target in (("old", 12.0, "age"), ("sharp", 3.0, "level"), ("vague", 6.0, "level")):
        folder = write_run(tmp_path, name, noise, target_name=target)
    table = pd.read_parquet(folder / "predictions.parquet")
    table.iloc[3:].to_parquet(tmp_path / "models" / "old" / "predictions.parquet")  # of three the age is not known
    chapter = chapter_of(tmp_path, "old", "sharp", "vague")
    assert list(chapter.runs) == ["old", "sharp", "vague"]
    assert (chapter.title, chapter.anchor) == ("Numbers", "numbers")
    age, level = chapter.board.split('<section id="numbers-2"')
    assert "Numbers: age" in age
    assert "#run-old" in age
    assert "#run-sharp" not in age
    assert "Group" not in age
    assert "Group" in level
    assert chapter.lead.count("best <a") == 2
    assert chapter.best.startswith("best old with a test mae of ")
    assert ", best sharp with" in chapter.best
    assert "Numbers: level: test MAE of the row less that of the column" in words(chapter.certainty)
