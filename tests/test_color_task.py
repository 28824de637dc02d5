"""Colorizers learn what can be learned, without labels, the same way each time, and are judged beside baselines."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lamina.stages.evaluate_colors import EvaluateSummary, evaluate_colors
from PIL import Image

from lamina.data.augmentation import AugmentConfig, draw_plan, warp
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.maths.color_scores import summarise
from lamina.stages.train import train
from lamina.stages.tune import tune
from lamina.tasks.classify.learning import open_task
from lamina.tasks.runs import ColorizeRun, Tuned, read_run
from lamina.training.callbacks import Silent
from lamina.tuning.search import TuneConfig

SIDE = 16
TUNED = Tuned(learning_rate=2e-3, dropout=0.0, decay=0.001)
RUN = {
    "backbone": "small_cnn",
    "weights": "none",
    "watch": "x",
    "preprocess": "native",
    "decoder": "unet",
    "loss": "mse",
}
RUN |= {"encoder": "trainable", "epochs": 6, "batch_size": 8, "learning_rate": 2e-3, "dropout": 0.0, "decay": 0.001}
SEARCH = {"trials": 3, "epochs": 1, "learning_rate": [1e-5, 1e-2], "dropout": [0.0, 0.5], "decay": [1e-5, 1e-2]}


def run_of(**changed: object) -> ColorizeRun:
    _, run = read_run({"colorize": {"runs": {"colors": RUN | changed}}}, "colors")
    assert isinstance(run, ColorizeRun)
    return run


def make_blots(root: Path) -> Path:
    """90 unlabeled pictures of blots: what is light is orange, what is dark is blue; L tells color, and color L."""
    random = np.random.default_rng(0)
    light = random.uniform(0, 1, (90, 2, 2)).repeat(8, axis=1).repeat(8, axis=2)[..., None]
    rgb = light * np.array([255, 160, 60]) + (1 - light) * np.array([20, 40, 120])
    ids = [f"{number:016x}" for number in range(90)]
    manifest = pd.DataFrame({"id": ids, "origin": ids, "label": None, "name": ids})
    reach = AugmentConfig(copies=1, rotation=10.0, shift=0.1, flip_horizontal=True, flip_vertical=True, color=0.3)
    plan = draw_plan(manifest, reach, seed=1)
    fold = pd.Series(["train"] * 50 + ["validation"] * 20 + ["test"] * 20, index=ids)
    plan["fold"] = plan["id"].map(fold)
    folders = Folders()
    for folder in (folders.lab, folders.augmented, folders.split):
        (root / folder).mkdir(parents=True)
    np.save(root / folders.lab / "pixels.npy", srgb_to_lab(np.rint(rgb).astype(np.uint8)))
    manifest.to_parquet(root / folders.lab / "manifest.parquet")
    plan.to_parquet(root / folders.augmented / "plan.parquet")
    plan[(plan["fold"] == "train") | (plan["copy"] == 0)].to_parquet(root / folders.split / "manifest.parquet")
    return root


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blots(tmp_path_factory.mktemp("system"))


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


@pytest.fixture(scope="module")
def trained(system: Path) -> Path:
    out = system / "models" / "colors"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        train("colors", "colorize", run_of(), TUNED, Folders(), out, Silent(), seed=1)
        evaluate_colors(Folders(), out)
    return out


def test_rows_are_turned_as_planned_in_their_true_colors() -> None:
    manifest = pd.read_parquet("data/split/manifest.parquet")
    rows = open_rows(manifest, Folders())
    lab = rows.read_lab(np.arange(len(rows)))
    for place, row in enumerate(rows.plan.to_dict("records")[:20]):
        stored = np.array(rows.pixels[rows.place[place]])
        if row["copy"] == 0:
            np.testing.assert_array_equal(lab[place], stored)
        else:
            plain = {**row, "gain_red": 1.0, "gain_green": 1.0, "gain_blue": 1.0}
            expected = srgb_to_lab(warp(lab_to_srgb(stored), plain)).astype(int)
            assert np.abs(lab[place] - expected).mean() < 200  # two units: mixed in CIELAB, not in sRGB
    np.testing.assert_array_equal(rows.read_lab([5, 1]), lab[[5, 1]])


def test_a_residual_encoder_begins_with_plausible_answers() -> None:
    task = open_task("colors", run_of(backbone="resnet20"), Folders(), seed=1)
    numbers = task.build(TUNED)(task.train.rows.read_lab(np.arange(16))[..., :1] / np.float32(100), training=True)
    assert 0.1 < np.sqrt(np.square(numbers).mean()) < 0.5


def test_what_lightness_tells_is_learned(trained: Path) -> None:
    found = json.loads((trained / "metrics.json").read_text())["test"]
    mse = found["measures"]["mse"]
    assert mse["value"] < 0.2 * mse["mean"] < 0.2 * mse["grey"]
    assert found["against"]["mean"]["interval"][1] < 0
    history = pd.read_csv(trained / "history.csv")
    assert list(history.columns) == [
        "epoch", "train_loss", "train_mse", "validation_loss", "validation_mse", "learning_rate",
    ]  # fmt: skip
    last = json.loads((trained / "metrics.json").read_text())["validation"]["measures"]["mse"]["value"]
    assert history["validation_mse"].iloc[-1] == pytest.approx(last, rel=1e-3)


def test_measures_are_those_of_the_saved_model(trained: Path) -> None:
    from lamina.models.loading import load_model

    table = pd.read_parquet(trained / "predictions.parquet")
    manifest = pd.read_parquet("data/split/manifest.parquet")
    rows = open_rows(manifest[manifest["id"].isin(table["id"])].sort_values("id"), Folders())
    lab = rows.read_lab(np.arange(len(rows))) / np.float32(100)
    colors = load_model(trained / "model.keras").predict(lab[..., :1], verbose=0)
    np.testing.assert_allclose(table["mse"], ((colors - lab[..., 1:]) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(table["grey_mse"], (lab[..., 1:] ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    assert list(table["id"]) == sorted(table["id"])
    record = json.loads((trained / "record.json").read_text())
    assert (record["kind"], record["classes"], record["size"]) == ("colorize", [], SIDE)


def test_a_mirrored_run_answers_for_both_sides(tmp_path: Path) -> None:
    from lamina.models.loading import load_model

    train("colors", "colorize", run_of(flip_tta=True, epochs=1), TUNED, Folders(), tmp_path, Silent(), seed=1)
    model = load_model(tmp_path / "model.keras")
    lab = np.load("data/lab/pixels.npy")[:8, ..., :1] / np.float32(100)
    there, back = model.predict(lab, verbose=0), model.predict(lab[:, :, ::-1], verbose=0)
    np.testing.assert_allclose(back[:, :, ::-1], there, atol=1e-3)


def test_one_origin_is_told_without_an_interval(trained: Path) -> None:
    table = pd.read_parquet(trained / "predictions.parquet")
    several, one = (summarise(table, origin) for origin in (table["origin"], ["a"] * len(table)))
    assert "95 % interval" in str(EvaluateSummary(test=several))
    assert "(20 pictures of 1 origins; grey" in str(EvaluateSummary(test=one))


def test_an_encoder_that_is_given_other_values_than_it_learned_from_is_noted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(trained / "model.keras")
    for preprocess in ("native", "rescale"):
        run = run_of(weights=weights, watch=weights, preprocess=preprocess, epochs=1)
        train("other", "colorize", run, TUNED, Folders(), tmp_path, Silent(), seed=1)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == [f"note: {weights} learned by preprocess: native; this run gives it rescale"]


def test_sheets_show_grey_learned_and_true_pictures(trained: Path) -> None:
    tall, sheets = {}, {}
    for name in ("learning", "colors", "extremes"):
        with Image.open(trained / f"{name}.png") as sheet:
            tall[name], sheets[name] = sheet.height, np.asarray(sheet).astype(int)
    # grey, epochs 1, 2, 4, learned, true; twice three and their words; three
    assert tall["extremes"] > tall["learning"] > 1.8 * tall["colors"]
    pixels = sheets["learning"]
    spread = (pixels.max(axis=-1) - pixels.min(axis=-1)).reshape(pixels.shape[0], -1).max(axis=1)
    assert spread[30:90].max() < 30 < spread[-90:-30].max()  # the grey row, and the true one


@pytest.mark.parametrize(
    "changed",
    [
        {"loss": "rebalanced"},
        {"decoder": "conv", "augmentation": "fresh"},
        {"decoder": "dense", "precision": "bfloat16"},
    ],
    ids=str,
)
def test_other_ways_learn_too(changed: dict[str, object]) -> None:
    augment = AugmentConfig(copies=1, rotation=5.0, shift=0.0, flip_horizontal=True, flip_vertical=False, color=0.9)
    task = open_task("colors", run_of(**changed), Folders(), seed=1, augment=augment)
    history = task.learn(TUNED).history
    rows = task.validation.rows
    truth = rows.read_lab(np.arange(len(rows)))[..., 1:] / 100
    assert history[-1]["validation_mse"] < 0.85 * ((truth - task.mean_color) ** 2).mean()
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]


def test_an_interrupted_training_ends_with_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    class Killed(Silent):
        def epoch(self, row: dict[str, float]) -> None:
            if row["epoch"] == 3:
                raise KeyboardInterrupt

    underway = tmp_path / "underway"
    with pytest.raises(KeyboardInterrupt):
        train("colors", "colorize", run_of(), TUNED, Folders(), tmp_path, Killed(), seed=1, underway=underway)
    assert list((underway / "colors").glob("*/epoch-*.png"))
    seen: list[int] = []

    class Watching(Silent):
        def picture(self, name: str, epoch: int, image: Image.Image) -> None:
            assert image.size == (10 * SIDE, SIDE)
            seen.append(epoch)

    train("colors", "colorize", run_of(), TUNED, Folders(), tmp_path, Watching(), seed=1, underway=underway)
    assert seen == [1, 2, 4]
    for name in ("model.keras", "history.csv", "learning.png", "record.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name
    assert not (underway / "colors").exists()


def test_other_weights_to_start_from_are_another_task(tmp_path: Path) -> None:
    weights, digests = tmp_path / "model.keras", set()
    run = run_of(weights=str(weights), watch=str(weights))
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        digests |= {open_task("colors", run, Folders(), seed=1).digest for _ in range(2)}
    assert len(digests) == 2


def test_tuning_takes_the_trial_with_the_least_error(tmp_path: Path) -> None:
    run = run_of(learning_rate="tune")
    found = tune("colors", run, TuneConfig.model_validate(SEARCH), Folders(), tmp_path / "studies", tmp_path, seed=1)
    trials = pd.read_csv(tmp_path / "trials.csv")
    best = trials.loc[trials["value"].idxmin()]
    assert found.tuned.learning_rate == pytest.approx(best["learning_rate"])
    assert trials["value"].max() > 1.2 * trials["value"].min()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"decoder": "dense", "loss": "rebalanced"}, r"colors\.loss: a logit per place and bin .*dense.*conv or unet"),
        ({"start": "whole"}, r"colors\.start: whole: weights must then be the path of a colorizer"),
        ({"weights": "w.keras"}, r"colors\.watch: 'x' must equal weights 'w\.keras'"),
        ({"class_weights": "balanced"}, r"unknown key 'colorize\.runs\.colors\.class_weights'"),
        ({"decoder": "unett"}, r"colors\.decoder: .*'dense', 'conv' or 'unet'"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_with_its_place(changed: dict[str, object], match: str) -> None:
    with pytest.raises(UserError, match=match):
        run_of(**changed)
