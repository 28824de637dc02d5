"""The report's chapter about runs that learn lightness, and the gate, which does not compare them."""

import argparse
import json
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from re import sub
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.charts.chapter import Chapter
from lamina.commands import gate
from lamina.errors import UserError
from lamina.results.record import Record, Timing
from lamina.tasks.lightness.results import LightnessScores, Metrics
from lamina.tasks.registry import TASKS
from systems import LIGHT, params_of

TEST = pd.DataFrame({"id": [f"{n:016x}" for n in range(24)], "origin": [f"slide {n // 4}" for n in range(24)]})


def write_run(
    system: Path, name: str, mse: float, interval: tuple[float, float] | None = (60, 95), test: pd.DataFrame = TEST
) -> Path:
    """Write what training and evaluation leave of a run."""
    folder = system / "models" / name
    (folder / "sheets").mkdir(parents=True)
    scores = {"interval": interval, "n": len(test), "origins": test["origin"].nunique(), "baseline": 200.0}
    folds = {fold: LightnessScores(mse=mse + more, **scores) for fold, more in (("test", 0), ("validation", 5))}
    Metrics(**folds).write(folder / "metrics.json")
    test.assign(mse=mse, mean_mse=200.0).to_parquet(folder / "predictions.parquet")
    epoch = np.arange(1, 11)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 2 / epoch, "train_mse": mse})
    history.assign(validation_mse=mse + 9 / epoch, learning_rate=1e-3).to_csv(folder / "history.csv", index=False)
    Record(
        run=name,
        task="lightness",
        input="pixels",
        settings=LIGHT | {"learning_rate": "tune", "patience": None},
        numbers={"learning_rate": 0.00217, "dropout": 0.0, "decay": 0.001},
        seed=13,
        classes=[],
        width=32,
        data={"digest": "d", "mean_lightness": 60.0},
        environment={},
        code="c",
        key="a" * 64,
        parameters=98_765,
    ).write(folder / "record.json")
    Timing(seconds={"train": 93.0}).write(folder / "timing.json")
    (folder / "tuned.yaml").write_text("learning_rate: 0.00217\n")
    (folder / "trials.csv").write_text("number,state,value,learning_rate,dropout,decay,epochs\n")
    Image.new("RGB", (300, 90), (9, 9, 99)).save(folder / "sheets" / "lightness.png")
    return folder


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = tmp_path_factory.mktemp("system")
    write_run(system, "far", 150.0, None)
    write_run(system, "light", 80.0)
    return system


def chapter_of(system: Path, *names: str) -> Chapter:
    return TASKS["lightness"].chapter(system, names, None)


def words(markup: str) -> str:
    """Return what a reader sees, without tags."""
    return " ".join(unescape(sub(r"<[^>]*>", " ", sub(r"<(svg|style)\b.*?</\1>", " ", markup))).split())


def test_runs_are_compared_with_the_training_mean_best_first(system: Path) -> None:
    chapter = chapter_of(system, "far", "light")
    board = words(chapter.board)
    network = "small_cnn, unet decoder; start: weights/random"
    assert f"light {network} 80.0 60.0 to 95.0 200.0 60.0 % 85.0 10 1 min 33 s" in board
    assert f"far {network} 150.0 200.0 25.0 % 155.0" in board
    assert board.index("light small") < board.index("far small")
    assert list(chapter.runs) == ["light", "far"]
    assert "24 test pictures of 6 origins" in board
    assert chapter.best == "best at lightness light with a test MSE of 80.0"
    assert words(chapter.lead) == "Best at lightness from color: light with a mean squared error of 80.0 ."


def test_the_section_of_a_run_shows_its_sheet_numbers_and_settings(system: Path) -> None:
    section = chapter_of(system, "light").runs["light"]
    shown = words(section)
    assert 'id="run-light"' in section
    assert "test MSE of L 80.0 (60.0 to 95.0), training mean 200.0" in shown
    assert "98,765 parameters" in shown
    assert "learning rate 0.00217" in shown
    assert "patience" not in shown
    assert "drawn at L = 60" in shown
    assert section.count("<svg") == 2, "loss and MSE"


def test_missing_files_name_the_stage_to_run(system: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"record\.json: not found; run `dvc repro train@none`"):
        chapter_of(system, "none")
    (write_run(tmp_path, "other", 9.0) / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"metrics\.json: not found; run `dvc repro evaluate@other`"):
        chapter_of(tmp_path, "other")


def test_runs_of_other_test_pictures_are_not_compared(tmp_path: Path) -> None:
    write_run(tmp_path, "light", 80.0)
    write_run(tmp_path, "other", 9.0, test=TEST.iloc[:3])
    with pytest.raises(UserError, match="other"):
        chapter_of(tmp_path, "light", "other")


def run_gate(system: Path, runs: Mapping[str, Any], *options: str) -> int:
    (system / "params.yaml").write_text(json.dumps(params_of(runs)))
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", type=Path)
    gate.add_arguments(parser)
    return gate.run(parser.parse_args(["--system", str(system), *options]))


def test_the_gate_does_not_compare_them(tmp_path: Path) -> None:
    write_run(tmp_path, "light", 80.0)
    with pytest.raises(
        UserError, match=r"no run of a task that the gate compares \(classify, colorize, multilabel, regress\)"
    ):
        run_gate(tmp_path, {"light": LIGHT})
