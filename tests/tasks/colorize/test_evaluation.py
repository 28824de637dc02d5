"""Trained colorizers are scored next to baselines, from the saved model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import read_json, write_json
from lamina.inputs.index import read_split
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.models.loading import load_model
from lamina.results.evaluated import require_evaluated
from lamina.results.record import read_record
from lamina.stages.evaluate import evaluate
from lamina.tasks.colorize.network import colorizer_of
from lamina.tasks.colorize.results import Metrics, summarise
from systems import COLORS, stage_of, train_run, write_blots

SIDE = 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = write_blots(tmp_path_factory.mktemp("system"), side=SIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        out = system / "models" / "colors"
        train_run(stage_of(COLORS | {"epochs": 6}, out, name="colors"))
        evaluate(Folders(), out)
    return out


@pytest.fixture(autouse=True)
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.parents[1])


def metrics_of(folder: Path) -> Metrics:
    return Metrics.model_validate_json((folder / "metrics.json").read_text())


def true_lab(table: pd.DataFrame) -> np.ndarray:
    """CIELAB of predicted pictures, (n, S, S, 3) float32."""
    manifest = read_split(Folders())
    rows = open_rows(manifest[manifest["id"].isin(table["id"])].sort_values("id"), Folders())
    return rows.read_lab(np.arange(len(rows))) / np.float32(100)


def test_scores_are_refused_after_another_training(trained: Path, tmp_path: Path) -> None:
    again = tmp_path / "colors"
    shutil.copytree(trained, again)
    require_evaluated(again)
    write_json(again / "record.json", read_json(again / "record.json") | {"key": "b" * 64})
    with pytest.raises(UserError, match="colors: its scores are those of an earlier training; run `dvc"):
        require_evaluated(again)


def test_colors_that_lightness_determines_are_learned(trained: Path) -> None:
    metrics = metrics_of(trained)
    mse = metrics.test.measures["mse"]
    assert metrics.test.value == metrics.test.mse == mse.value
    assert mse.value < 0.2 * mse.mean < 0.2 * mse.grey
    assert metrics.test.gone == pytest.approx(1 - mse.value / mse.grey)
    assert metrics.test.against.mean.verdict == "better"
    history = pd.read_csv(trained / "history.csv")
    assert list(history.columns) == [
        "epoch", "train_loss", "train_mse", "validation_loss", "validation_mse", "learning_rate",
    ]  # fmt: skip
    assert history["validation_mse"].iloc[-1] == pytest.approx(metrics.validation.mse, rel=1e-3)


def test_measures_are_those_of_the_network_inside_the_saved_model(trained: Path) -> None:
    table = pd.read_parquet(trained / "predictions.parquet")
    lab = true_lab(table)
    colors = colorizer_of(load_model(trained / "model.keras")).predict(lab[..., :1], verbose=0)
    np.testing.assert_allclose(table["mse"], ((colors - lab[..., 1:]) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(table["grey_mse"], (lab[..., 1:] ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    mean = np.array(read_record(trained).data["mean_color"], np.float32)
    np.testing.assert_allclose(table["mean_mse"], ((mean - lab[..., 1:]) ** 2).mean(axis=(1, 2, 3)), rtol=1e-3)
    assert list(table["id"]) == sorted(table["id"])


def test_the_saved_model_gives_pictures_of_these_colors(trained: Path) -> None:
    table = pd.read_parquet(trained / "predictions.parquet")
    lab = true_lab(table)
    pixels = lab_to_srgb(np.rint(lab * 100).astype(np.int16)).astype(np.float32)
    found = load_model(trained / "model.keras").predict(pixels, verbose=0)
    predicted = srgb_to_lab(np.rint(found).astype(np.uint8)) / np.float32(100)
    errors = ((predicted - lab)[..., 1:] ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(errors, table["mse"], rtol=0.05, atol=0.5)  # 8 bits, and colors cut to sRGB


def test_one_origin_has_no_interval(trained: Path) -> None:
    table = pd.read_parquet(trained / "predictions.parquet")
    assert summarise(table)["interval"] is not None
    one = summarise(table.assign(origin="a"))
    assert (one["interval"], one["n"], one["origins"]) == (None, 20, 1)


def test_all_scores_are_plain_numbers_for_mlflow(trained: Path) -> None:
    scalars = metrics_of(trained).scalars()
    assert all(isinstance(value, float) for value in scalars.values())
    metrics = json.loads((trained / "metrics.json").read_text())["test"]
    assert scalars["test_mse"] == metrics["mse"]
    assert scalars["test_mse_grey"] == metrics["measures"]["mse"]["grey"]
    assert scalars["test_against_mean_difference"] == metrics["against"]["mean"]["difference"]


def test_sheets_show_grey_learned_and_true_pictures(trained: Path) -> None:
    heights, sheets = {}, {}
    for name in ("progress/learning", "sheets/colors", "sheets/extremes"):
        with Image.open(trained / f"{name}.png") as sheet:
            heights[name], sheets[name] = sheet.height, np.asarray(sheet).astype(int)
    # twice three rows and their captions; grey, epochs 1, 2, 4, learned, true; three rows
    assert heights["sheets/extremes"] > heights["progress/learning"] > 1.8 * heights["sheets/colors"]
    pixels = sheets["progress/learning"]
    spread = (pixels.max(axis=-1) - pixels.min(axis=-1)).reshape(pixels.shape[0], -1).max(axis=1)
    assert spread[30:90].max() < 30 < spread[-90:-30].max()  # the grey row, and the true one
