"""Trained runs of the task lightness are scored next to the training mean, from the saved model."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.data.rows import Folders, open_rows
from lamina.inputs.index import read_split
from lamina.inputs.lightness import lightness
from lamina.maths.color import lab_to_srgb
from lamina.models.chroma import SPREAD
from lamina.models.loading import load_model
from lamina.results.record import read_record
from lamina.stages.evaluate import evaluate
from lamina.tasks.lightness.results import Metrics, summarise
from systems import LIGHT, stage_of, train_run, write_blots

SIDE = 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = write_blots(tmp_path_factory.mktemp("system"), side=SIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        out = system / "models" / "light"
        train_run(stage_of(LIGHT | {"epochs": 6}, out, name="light"))
        evaluate(Folders(), out)
    return out


@pytest.fixture(autouse=True)
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.parents[1])


def test_lightness_that_color_determines_is_learned(trained: Path) -> None:
    metrics = Metrics.model_validate_json((trained / "metrics.json").read_text())
    test = metrics.test
    written = json.loads((trained / "metrics.json").read_text())["test"]
    assert set(written) == {"n", "origins", "mse", "interval", "baseline"}
    assert (test.n, test.origins) == (20, 20)
    assert test.interval is not None
    assert test.interval[0] < test.mse < test.interval[1] < 0.2 * test.baseline
    assert test.gone == pytest.approx(1 - test.mse / test.baseline)
    history = pd.read_csv(trained / "history.csv")
    assert history["validation_mse"].iloc[-1] == pytest.approx(metrics.validation.mse, rel=5e-3)
    assert history["train_loss"].iloc[-1] == pytest.approx(history["train_mse"].iloc[-1] / SPREAD**2, rel=1e-4)


def test_the_saved_model_goes_from_rgb_to_lightness(trained: Path) -> None:
    table, manifest = pd.read_parquet(trained / "predictions.parquet"), read_split(Folders())
    rows = open_rows(manifest[manifest["id"].isin(table["id"])].sort_values("id"), Folders())
    lab = rows.read_lab(np.arange(len(rows)))
    found = load_model(trained / "model.keras").predict(lab_to_srgb(lab).astype(np.float32), verbose=0)
    assert found.shape == (20, SIDE, SIDE, 1)
    np.testing.assert_allclose(table["mse"], ((found - lightness(lab)) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    originals = open_rows(manifest[(manifest["fold"] == "train") & (manifest["copy"] == 0)], Folders())
    mean = lightness(originals.read_lab(np.arange(len(originals)))).mean()
    np.testing.assert_allclose(table["mean_mse"], ((mean - lightness(lab)) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    record = read_record(trained)
    assert (record.task, record.classes, record.width) == ("lightness", [], SIDE)
    assert record.data["mean_lightness"] == pytest.approx(mean, abs=0.01)


def test_the_network_does_not_see_lightness(trained: Path) -> None:
    lab = np.zeros((2, SIDE, SIDE, 3), np.int16)
    lab[0, ..., 0], lab[1, ..., 0] = 3000, 6000
    lab[..., 1:] = 1500
    dark, light = load_model(trained / "model.keras").predict(lab_to_srgb(lab).astype(np.float32), verbose=0)
    assert np.abs(dark - light).max() < 1  # rounding to sRGB alone


def test_the_sheet_shows_input_prediction_and_truth(trained: Path) -> None:
    with Image.open(trained / "sheets" / "lightness.png") as sheet:
        pixels = np.asarray(sheet).astype(int)
    colorful = (pixels.max(axis=-1) - pixels.min(axis=-1)).max(axis=1)
    third = pixels.shape[0] // 3
    assert colorful[:third].max() > 60
    assert colorful[third + 20 :].max() < 30  # both rows of lightness are grey, captions too
    rows = [pixels[top : top + 96, 160:].mean(axis=-1) for top in (16 + 104, 16 + 208)]
    assert np.corrcoef(rows[0].ravel(), rows[1].ravel())[0, 1] > 0.95


def test_one_origin_has_no_interval() -> None:
    table = pd.DataFrame({"origin": ["a", "a"], "mse": [1.0, 3.0], "mean_mse": [5.0, 7.0]})
    assert summarise(table) == {"n": 2, "origins": 1, "mse": 2.0, "interval": None, "baseline": 6.0}
