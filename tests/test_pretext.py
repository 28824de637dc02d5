"""Encoders that learn lightness from color: what they are given, what they learn, whom they serve, how it is told."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lamina.stages.evaluate_pretext import evaluate_pretext, summarise
from PIL import Image

from lamina.commands import colorize, explain, export, predict
from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import write_json
from lamina.inputs.lightness import lightness
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.maths.crossvalidation import SPARE
from lamina.models.backbones import BACKBONE_LAYER, CONVENTION_LAYER, build_extractor, convention
from lamina.models.chroma import SPREAD
from lamina.models.saving import save_model
from lamina.stages.extract import extract_run
from lamina.stages.report import report
from lamina.stages.train import train
from lamina.stages.tune import tune
from lamina.tasks.classify.learning import class_task, open_task
from lamina.tasks.lightness.learning import chroma as chroma_of_lab
from lamina.tasks.lightness.results import ranked_pretexts, read_pretext_run
from lamina.tasks.runs import KINDS, PretextRun, TransferRun, Tuned, read_run
from lamina.training.callbacks import Silent
from lamina.tuning.search import TuneConfig
from test_color_task import SEARCH, SIDE, make_blots
from test_gate import name_runs, run_gate, write_predictions, write_profile
from test_report import make_system, words

TUNED = Tuned(learning_rate=2e-3, dropout=0.0, decay=0.001)
RUN = {"backbone": "small_cnn", "weights": "none", "watch": "x", "decoder": "unet"}
RUN |= {"epochs": 6, "batch_size": 8, "learning_rate": 2e-3, "dropout": 0.0, "decay": 0.001}
HEAD = {"backbone": "small_cnn", "pooling": "scales", "preprocess": "chroma", "epochs": 30, "batch_size": 8}
HEAD |= {"learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}


def run_of(**changed: object) -> PretextRun:
    _, run = read_run({"pretext": {"runs": {"light": RUN | changed}}}, "light")
    assert isinstance(run, PretextRun)
    return run


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blots(tmp_path_factory.mktemp("system"))


@pytest.fixture
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(system)
    return system


@pytest.fixture(scope="module")
def trained(system: Path) -> Path:
    out = system / "models" / "light"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        train("light", "pretext", run_of(), TUNED, Folders(), out, Silent(), seed=1)
        evaluate_pretext(Folders(), out)
    return out


# ---- what it is given


def test_chroma_is_a_and_b_of_cielab_and_nothing_of_lightness() -> None:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, 18, -1, 3)  # 18 x 18 x 18 colors
    rgb = rgb.reshape(18, 18, 18, 3)
    found = np.asarray(convention("small_cnn", "chroma", 18)(rgb.astype(np.float32)))
    lab = srgb_to_lab(rgb)
    np.testing.assert_allclose(found[..., :2] * SPREAD, lab[..., 1:] / 100, atol=0.05, rtol=0)
    np.testing.assert_array_equal(found[..., 2], 0)
    np.testing.assert_allclose(chroma_of_lab(lab), found, atol=0.05 / SPREAD, rtol=0)


@pytest.fixture(scope="module")
def extractor() -> Any:
    told = {"weights": "none", "pooling": "scales", "preprocess": "chroma"}
    return build_extractor("small_cnn", **told, size=32, seed=1)


def test_a_network_of_chroma_loads_safely_and_runs_in_openvino(extractor: Any, tmp_path: Path) -> None:
    from lamina.models.engine import compile_engine
    from lamina.models.loading import load_model

    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    expected = np.asarray(extractor(pixels.astype(np.float32)))
    save_model(extractor, tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(load_model(tmp_path / "model.keras")(pixels.astype(np.float32))), expected)
    engine = compile_engine(extractor, "float32")
    assert engine.name == "OpenVINO"
    np.testing.assert_allclose(engine.features(pixels), expected, atol=1e-3 * np.abs(expected).max())


def test_a_network_of_chroma_is_exported_to_every_format(extractor: Any, tmp_path: Path) -> None:
    from lamina.models.exporting import FORMATS, export_model
    from lamina.models.networks import build_head, join

    width = extractor.output.shape[-1]
    head = build_head(width, 2, dropout=0.5, mean=np.zeros(width), variance=np.ones(width), seed=1)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    done = export_model(join(extractor, head), list(FORMATS), tmp_path, pixels, {"run": "a", "classes": ["b", "c"]})
    assert len(done) == len(FORMATS)


# ---- what it learns


def test_what_color_tells_is_learned(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    test = metrics["test"]
    assert set(test) == {"n", "origins", "mse", "interval", "level"}
    assert (test["n"], test["origins"]) == (20, 20)
    assert test["interval"][0] < test["mse"] < test["interval"][1] < 0.2 * test["level"]
    history = pd.read_csv(trained / "history.csv")
    assert history["validation_mse"].iloc[-1] == pytest.approx(metrics["validation"]["mse"], rel=5e-3)
    assert history["train_loss"].iloc[-1] == pytest.approx(history["train_mse"].iloc[-1] / SPREAD**2, rel=1e-4)


def test_the_saved_model_goes_from_rgb_to_lightness(here: Path, trained: Path) -> None:
    from lamina.models.loading import load_model

    table = pd.read_parquet(trained / "predictions.parquet")
    manifest = pd.read_parquet("data/split/manifest.parquet")
    rows = open_rows(manifest[manifest["id"].isin(table["id"])].sort_values("id"), Folders())
    lab = rows.read_lab(np.arange(len(rows)))
    model = load_model(trained / "model.keras")
    said = model.predict(lab_to_srgb(lab).astype(np.float32), verbose=0)
    assert said.shape == (20, SIDE, SIDE, 1)
    np.testing.assert_allclose(table["mse"], ((said - lightness(lab)) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    originals = manifest[(manifest["fold"] == "train") & (manifest["copy"] == 0)]
    train_rows = open_rows(originals, Folders())
    mean = lightness(train_rows.read_lab(np.arange(len(train_rows)))).mean()
    np.testing.assert_allclose(table["level_mse"], ((mean - lightness(lab)) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    record = json.loads((trained / "record.json").read_text())
    assert (record["kind"], record["classes"], record["size"]) == ("pretext", [], SIDE)
    assert record["data"]["mean_lightness"] == pytest.approx(mean, abs=0.01)


def test_lightness_itself_is_not_given(trained: Path) -> None:
    from lamina.models.loading import load_model

    lab = np.zeros((2, SIDE, SIDE, 3), np.int16)
    lab[0, ..., 0], lab[1, ..., 0] = 3000, 6000
    lab[..., 1:] = 1500
    dark, light = load_model(trained / "model.keras").predict(lab_to_srgb(lab).astype(np.float32), verbose=0)
    assert np.abs(dark - light).max() < 1  # rounding to sRGB alone


def test_the_sheet_shows_what_is_given_predicted_and_true(trained: Path) -> None:
    with Image.open(trained / "lightness.png") as sheet:
        pixels = np.asarray(sheet).astype(int)
    colorful = (pixels.max(axis=-1) - pixels.min(axis=-1)).max(axis=1)
    third = pixels.shape[0] // 3
    assert colorful[:third].max() > 60
    assert colorful[third + 20 :].max() < 30  # both rows of lightness are grey, words too
    rows = [pixels[top : top + 96, 160:].mean(axis=-1) for top in (16 + 104, 16 + 208)]
    assert np.corrcoef(rows[0].ravel(), rows[1].ravel())[0, 1] > 0.95


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("changed", [{"decoder": "conv", "augmentation": "fresh"}, {"precision": "bfloat16"}], ids=str)
def test_other_ways_learn_too(changed: dict[str, object]) -> None:
    augment = AugmentConfig(copies=1, rotation=5.0, shift=0.0, flip_horizontal=True, flip_vertical=False, color=0.9)
    task = open_task("light", run_of(**changed), Folders(), seed=1, augment=augment)
    history = task.learn(TUNED).history
    true = lightness(task.validation.rows.read_lab(np.arange(len(task.validation))))
    assert history[-1]["validation_mse"] < 0.75 * ((true - task.mean_lightness) ** 2).mean()
    assert (task.digest != open_task("light", run_of(), Folders(), seed=1).digest) == ("augmentation" in changed)


@pytest.mark.usefixtures("here")
def test_an_interrupted_training_ends_with_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    class Killed(Silent):
        def epoch(self, row: dict[str, float]) -> None:
            if row["epoch"] == 3:
                raise KeyboardInterrupt

    told = ("light", "pretext", run_of(), TUNED, Folders(), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(*told, Killed(), seed=1, underway=tmp_path / "underway")
    train(*told, Silent(), seed=1, underway=tmp_path / "underway")
    for name in ("model.keras", "history.csv", "record.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.usefixtures("here")
def test_tuning_takes_the_trial_with_the_least_error(tmp_path: Path) -> None:
    config = TuneConfig.model_validate(SEARCH | {"trials": 2})
    found = tune("light", run_of(learning_rate="tune"), config, Folders(), tmp_path / "studies", tmp_path, seed=1)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert found.tuned.learning_rate == pytest.approx(trials.loc[trials["value"].idxmin(), "learning_rate"])


def test_one_origin_has_no_interval() -> None:
    table = pd.DataFrame({"origin": ["a", "a"], "mse": [1.0, 3.0], "level_mse": [5.0, 7.0]})
    assert summarise(table) == {"n": 2, "origins": 1, "mse": 2.0, "interval": None, "level": 6.0}


# ---- whom it serves


def test_a_transfer_run_takes_its_encoder(here: Path, trained: Path) -> None:
    from lamina.models.loading import load_model

    weights = "models/light/model.keras"
    run = TransferRun.model_validate(HEAD | {"weights": weights, "watch": weights})
    extract_run(run, Folders(), here / "data" / "features" / "head", seed=5, others=[run])
    learned = load_model(trained / "model.keras").get_layer("lightness").get_layer(BACKBONE_LAYER)
    saved = load_model(here / "data" / "features" / "head" / "backbone.keras")
    for mine, theirs in zip(saved.get_layer(BACKBONE_LAYER).get_weights(), learned.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    manifest = pd.read_parquet("data/split/manifest.parquet")
    ids = pd.read_parquet("data/lab/manifest.parquet")["id"]
    light = pd.Series(np.load("data/lab/pixels.npy", mmap_mode="r")[..., 0].mean(axis=(1, 2)) / 100, index=ids)
    beyond = manifest["id"].map(light - light.median())
    sure = manifest["fold"].where(beyond.abs() > 4, SPARE)  # what lies between says neither
    task = class_task("head", run, Folders(), seed=1, manifest=manifest.assign(label=(beyond > 0).map(str), fold=sure))
    test = task.examples("test")
    assert len(test) >= 8
    assert (task.learn(TUNED).answers(test).argmax(axis=1) == test.labels).mean() > 0.9


def test_a_backbone_is_given_what_its_encoder_learned_from(here: Path, trained: Path) -> None:
    from lamina.models.loading import load_model

    told = {"weights": str(trained / "model.keras"), "pooling": "avg", "preprocess": "chroma"}
    built = build_extractor("small_cnn", **told, size=SIDE, seed=1)
    saved = load_model(trained / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    inputs = [np.asarray(one.get_layer(CONVENTION_LAYER)(pixels)) for one in (built, saved)]
    np.testing.assert_array_equal(*inputs)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"decoder": "dense"}, r"light\.decoder: .*'conv' or 'unet'"),
        ({"preprocess": "chroma"}, r"unknown key 'pretext\.runs\.light\.preprocess'"),
        ({"loss": "mse"}, r"unknown key 'pretext\.runs\.light\.loss'"),
        ({"encoder": "frozen"}, r"unknown key 'pretext\.runs\.light\.encoder'"),
        ({"weights": "w.keras"}, r"light\.watch: 'x' must equal weights 'w\.keras'"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_with_its_place(changed: dict[str, object], match: str) -> None:
    with pytest.raises(UserError, match=match):
        run_of(**changed)


def test_a_colorizer_cannot_be_given_chroma() -> None:
    told = RUN | {"loss": "mse", "encoder": "trainable", "preprocess": "chroma"}
    with pytest.raises(UserError, match=r"colors\.preprocess: .*'native' or 'rescale'"):
        read_run({"colorize": {"runs": {"colors": told}}}, "colors")


def test_color_alone_needs_float32() -> None:
    told = HEAD | {"weights": "none", "watch": "x", "precision": "bfloat16"}
    with pytest.raises(UserError, match=r"head\.preprocess: chroma: bfloat16 leaves too little .* float32"):
        read_run({"transfer": {"runs": {"head": told}}}, "head")
    assert read_run({"transfer": {"runs": {"head": told | {"preprocess": "native"}}}}, "head")


# ---- what is said of it


def write_pretext_run(system: Path, name: str, mse: float, test: pd.DataFrame, interval: object = (60, 95)) -> Path:
    """Write `models/NAME/` as tuning, training and evaluation do."""
    folder = system / "models" / name
    folder.mkdir(parents=True)
    block = {"n": len(test), "origins": test["origin"].nunique(), "mse": mse, "interval": interval, "level": 200.0}
    write_json(folder / "metrics.json", {"test": block, "validation": block | {"mse": mse + 5}})
    test[["id", "origin"]].assign(mse=mse, level_mse=200.0).to_parquet(folder / "predictions.parquet")
    epoch = np.arange(1, 11)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 2 / epoch, "train_mse": mse})
    history.assign(validation_mse=mse + 9 / epoch, learning_rate=1e-3).to_csv(folder / "history.csv", index=False)
    record = {"run": name, "system": "photos", "kind": "pretext", "key": "a" * 64, "params": RUN | {"patience": None}}
    record |= {"tuned": {"learning_rate": 0.00217}, "classes": [], "seed": 13, "size": SIDE, "parameters": 98_765}
    write_json(folder / "record.json", record | {"data": {"digest": "d", "mean_lightness": 60.0}, "environment": {}})
    write_json(folder / "timing.json", {"seconds": {"train": 93.0}})
    (folder / "tuned.yaml").write_text("learning_rate: 0.00217\n")
    (folder / "trials.csv").write_text("number,state,value,learning_rate,dropout,decay,epochs\n")
    Image.new("RGB", (300, 90), (9, 9, 99)).save(folder / "lightness.png")
    (folder / "model.keras").write_bytes(b"not opened")
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = tmp_path_factory.mktemp("told")
    make_system(system, {"small_cnn": 0.6}, origins=24, side=32)
    split = pd.read_parquet(system / "data/split/manifest.parquet")
    for name, mse, interval in (("far", 150.0, None), ("light", 80.0, (60, 95))):
        write_pretext_run(system, name, mse, split[split["fold"] == "test"], interval)
    return system


KINDS_TOLD = {"far": "pretext", "small_cnn": "scratch", "light": "pretext"}


def test_the_page_shows_what_is_gone_of_the_level(told: Path, tmp_path: Path) -> None:
    page = report(KINDS_TOLD, told, tmp_path).page.read_text(encoding="utf-8")
    said = words(page)
    assert "3 runs" in said
    assert "light small_cnn, unet decoder; no weights 80.0 60.0 to 95.0 200.0 60.0 % 85.0 10 1 min 33 s" in said
    assert "far small_cnn, unet decoder; no weights 150.0 200.0 25.0 % 155.0" in said
    assert said.index("80.0 60.0 to 95.0 200.0") < said.index("far small_cnn, unet")
    assert page.index('id="leaderboard"') < page.index('id="pretext"') < page.index('id="run-light"')
    assert page.count("given (a and b, drawn at L = 60)") == 2
    assert "MSE of L" in page
    assert "MSE of a" not in page
    assert "98,765 parameters" in said
    assert "learning rate 0.00217" in said
    assert "watch" not in page[page.index('id="run-light"') :]


def test_a_page_of_pretext_runs_alone_speaks_of_no_scores(told: Path, tmp_path: Path) -> None:
    summary = report({"light": "pretext"}, told, tmp_path)
    page = summary.page.read_text(encoding="utf-8")
    assert (summary.best, summary.mse) == (None, None)
    assert "leaderboard" not in page
    assert page.count('id="pretext"') == 1


def test_a_system_without_such_runs_does_not_speak_of_them(told: Path, tmp_path: Path) -> None:
    page = report({"small_cnn": "scratch"}, told, tmp_path).page.read_text(encoding="utf-8")
    assert "pretext" not in page
    assert "Lightness" not in page


def test_the_stage_to_run_is_named(told: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"record\.json: not found.*train-pretext@none"):
        read_pretext_run(told, "none")
    split = pd.read_parquet(told / "data/split/manifest.parquet")
    write_pretext_run(tmp_path, "other", 9.0, split[split["fold"] == "train"].iloc[:3])
    runs = [read_pretext_run(told, "light"), read_pretext_run(tmp_path, "other")]
    with pytest.raises(UserError, match="other test pictures than those of light"):
        ranked_pretexts(runs)
    (tmp_path / "models/other/metrics.json").unlink()
    with pytest.raises(UserError, match=r"metrics\.json: not found.*evaluate-pretext@other"):
        read_pretext_run(tmp_path, "other")


def test_the_gate_passes_it_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name_runs(tmp_path, transfer=["tiny"], pretext=["light"])
    write_predictions(tmp_path, "tiny")
    write_profile(tmp_path)
    assert run_gate(tmp_path, "--accept") == 0
    assert sorted(path.name for path in (tmp_path / "baselines").glob("*.csv")) == ["tiny.csv"]
    assert run_gate(tmp_path) == 0
    assert "light" not in capsys.readouterr().out
    name_runs(tmp_path, pretext=["light"])
    (tmp_path / "baselines" / "tiny.csv").unlink()
    with pytest.raises(UserError, match=r"no runs under transfer\.runs, scratch\.runs, colorize\.runs$"):
        run_gate(tmp_path)
    assert [kind for kind in KINDS if not KINDS[kind].guarded] == ["pretext"]


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        (predict, (), "light tells lightness from color and names no classes; name a run under transfer.runs"),
        (explain, ("--out", "why"), "light tells lightness from color and names no classes"),
        (export, None, "light tells lightness from color and is not exported"),
        (colorize, ("--out", "why"), r"run 'light' learned lightness \(kind pretext\), not colors; no run does"),
    ],
)
def test_commands_refuse_it(command: Any, options: tuple[str, ...] | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps({"pretext": {"runs": {"light": RUN}}}))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", type=Path)
    command.add_arguments(parser)
    pictures = [] if options is None else [str(tmp_path / "a.png"), *options]
    with pytest.raises(UserError, match=said):
        command.run(parser.parse_args(["--system", str(tmp_path), "--run", "light", *pictures]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")
def test_mlflow_has_it_in_full(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc

    from lamina.tracking import store
    from lamina.tracking.sync import sync

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "light").symlink_to(trained)
    assert sync(tmp_path, "light") == "tracked"
    assert sync(tmp_path, "light") == "already there"
    opened = store.open_store(tmp_path)
    (run,) = opened.client.search_runs([one.experiment_id for one in opened.client.search_experiments()])
    metrics = json.loads((trained / "metrics.json").read_text())["test"]
    told = {"test_mse": metrics["mse"], "test_mse_high": metrics["interval"][1], "test_level": metrics["level"]}
    assert told.items() <= run.data.metrics.items()
    assert not [name for name in run.data.metrics if "accuracy" in name]
    assert (run.data.params["decoder"], run.data.tags["kind"]) == ("unet", "pretext")
    kept = {path.path for path in opened.client.list_artifacts(run.info.run_id, "figures")}
    assert kept == {"figures/loss.png", "figures/mse.png", "figures/lightness.png"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", opened.uri)
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    pictures = np.random.default_rng(13).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    said = loaded.predict(pictures)
    assert (said.dtype, said.shape) == (np.float32, (3, SIDE, SIDE, 1))
