"""The report's chapter about runs that learn lightness."""

from pathlib import Path

import pandas as pd
import pytest

from lamina.errors import UserError
from lamina.files import write_json
from pages import page_of, section, words, write_lightness, write_pictures
from systems import lightness_scores


@pytest.fixture
def system(tmp_path: Path) -> Path:
    originals = write_pictures(tmp_path, origins=24, side=32)
    for name, mse in {"light": 120.0, "lighter": 90.0}.items():
        write_lightness(tmp_path, name, originals, mse)
    return tmp_path


RUNS = {"light": "lightness", "lighter": "lightness"}


def test_runs_are_ranked_by_error_next_to_the_training_mean(system: Path) -> None:
    page = page_of(system, RUNS, system / "reports")
    text = words(page)
    assert "Best at lightness from color: lighter with a mean squared error of 90.0 ." in text
    network = "small_cnn, conv decoder; start: weights/random"
    assert f"lighter {network} 90.0 81.0 to 108.0 300.0 70.0 % 95.0 10 12 s light {network} 120.0" in text
    assert "test MSE of L 90.0 (81.0 to 108.0), training mean 300.0" in text
    assert "What it predicts" in words(section(page, "light"))
    for absent in ("How sure", "Confusion", "Group"):
        assert absent not in text


def test_the_assessment_of_these_runs_is_shown(system: Path) -> None:
    spread = {"values": [91.0, 95.0], "mean": 93.0, "deviation": 2.83}
    crossed = {"scores": lightness_scores(97.0), "folds": [{"value": 96.0, "n": 2}, {"value": 98.0, "n": 2}]}
    repeats = {"seeds": [2, 3], "test": spread, "validation": spread}
    write_json(system / "models/light/assessment.json", {"repeats": repeats, "crossvalidation": crossed})
    text = words(page_of(system, RUNS, system / "reports"))
    assert "Lightness from color: test MSE of runs that were trained again" in text
    assert "light 93.0 ± 2.83 91.0, 95.0 97.0 96.0, 98.0" in text


def test_runs_on_other_test_pictures_are_not_ranked(system: Path) -> None:
    path = system / "models/lighter/predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    with pytest.raises(UserError, match=r"lighter/predictions\.parquet: other test pictures than those of light"):
        page_of(system, RUNS, system / "reports")
