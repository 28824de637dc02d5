"""What runs that learn lightness learn from color, and what their encoder is good for."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lamina.data.rows import Folders
from lamina.inputs.features import FeaturesSettings
from lamina.inputs.index import read_split
from lamina.inputs.lightness import chroma as chroma_of_lab
from lamina.inputs.lightness import lightness
from lamina.maths.color import srgb_to_lab
from lamina.maths.crossvalidation import SPARE
from lamina.models.backbones import BACKBONE_LAYER, CONVENTION_LAYER, build_extractor, convention
from lamina.models.chroma import SPREAD
from lamina.models.loading import load_model
from lamina.models.saving import save_model
from lamina.stages.extract import extract_features
from lamina.tasks.classify.learning import open_learner as open_classifier
from lamina.tasks.lightness.learning import LightnessLearner
from lamina.training.settings import GradientNumbers
from systems import AUGMENT, FEATURES, HEAD, LIGHT, learner_of, stage_of, train_run, write_blots

SIDE = 16
RUN = LIGHT | {"epochs": 6}
GIVEN = GradientNumbers(learning_rate=2e-3, dropout=0.0, decay=0.001)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blots(tmp_path_factory.mktemp("system"), side=SIDE)


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(system)
    return system


def opened(**changes: object) -> LightnessLearner:
    learner = learner_of(RUN | changes, augment=AUGMENT | {"color": 0.9})
    assert isinstance(learner, LightnessLearner)
    return learner


# ---- its input


def test_chroma_is_a_and_b_of_cielab_without_lightness() -> None:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, 18, 18, 3)
    found = np.asarray(convention("small_cnn", "chroma", 18)(rgb.astype(np.float32)))
    lab = srgb_to_lab(rgb)
    np.testing.assert_allclose(found[..., :2] * SPREAD, lab[..., 1:] / 100, atol=0.05, rtol=0)
    np.testing.assert_array_equal(found[..., 2], 0)
    np.testing.assert_allclose(chroma_of_lab(lab), found, atol=0.05 / SPREAD, rtol=0)


@pytest.fixture(scope="module")
def extractor() -> Any:
    given = {"weights": "weights/random", "pooling": "scales", "preprocess": "chroma"}
    return build_extractor("small_cnn", **given, size=32, seed=1)


def test_a_network_of_chroma_loads_in_safe_mode_and_runs_in_openvino(extractor: Any, tmp_path: Path) -> None:
    from lamina.models.engine import compile_engine

    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    expected = np.asarray(extractor(pixels.astype(np.float32)))
    save_model(extractor, tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(load_model(tmp_path / "model.keras")(pixels.astype(np.float32))), expected)
    engine = compile_engine(extractor, "float32")
    assert engine.name == "OpenVINO"
    np.testing.assert_allclose(engine.features(pixels), expected, atol=1e-3 * np.abs(expected).max())


def test_a_network_of_chroma_is_exported_to_every_format(extractor: Any, tmp_path: Path) -> None:
    from lamina.commands.export import EXACT
    from lamina.models.exporting import export_model
    from lamina.models.networks import build_head, join

    width = extractor.output.shape[-1]
    head = build_head(width, 2, dropout=0.5, mean=np.zeros(width), variance=np.ones(width), seed=1)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    done = export_model(join(extractor, head), EXACT, tmp_path, pixels, {"run": "a", "classes": ["b", "c"]})
    assert len(done) == len(EXACT)


# ---- training


@pytest.mark.nightly
@pytest.mark.parametrize("changes", [{"decoder": "conv", "augmentation": "fresh"}, {"precision": "bfloat16"}], ids=str)
def test_every_decoder_and_precision_learns(changes: dict[str, object]) -> None:
    learner = opened(**changes)
    history = learner.learn(GIVEN).history
    true = lightness(learner.validation.rows.read_lab(np.arange(len(learner.validation))))
    assert history[-1]["validation_mse"] < 0.75 * ((true - learner.mean_lightness) ** 2).mean()
    assert (learner.digest != opened().digest) == ("augmentation" in changes)


def test_the_mean_lightness_is_that_of_the_training_originals() -> None:
    split, ids = read_split(Folders()), pd.read_parquet("data/lab/manifest.parquet")["id"]
    trained = split.loc[(split["fold"] == "train") & (split["copy"] == 0), "id"]
    light = np.load("data/lab/pixels.npy", mmap_mode="r")[ids.isin(trained), ..., 0].mean() / 100
    assert opened().mean_lightness == pytest.approx(light)
    assert opened().facts == {"mean_lightness": pytest.approx(light, abs=1e-4)}


# ---- what its encoder is good for


@pytest.fixture(scope="module")
def trained(system: Path) -> Path:
    out = system / "models" / "light"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        train_run(stage_of(RUN, out, name="light"))
    return out


@pytest.mark.nightly
def test_a_classifier_takes_features_of_its_encoder(
    here: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = "models/light/model.keras", here / "data" / "features" / "light"
    settings = FeaturesSettings.model_validate(
        FEATURES | {"weights": weights, "pooling": "scales", "preprocess": "chroma"}
    )
    extract_features(settings, Folders(), out, seed=5)
    assert "note:" not in capsys.readouterr().err, "both use chroma"
    learned = load_model(trained / "model.keras").get_layer("lightness").get_layer(BACKBONE_LAYER)
    saved = load_model(out / "backbone.keras")
    for mine, theirs in zip(saved.get_layer(BACKBONE_LAYER).get_weights(), learned.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    manifest = read_split(Folders())
    ids = pd.read_parquet("data/lab/manifest.parquet")["id"]
    light = pd.Series(np.load("data/lab/pixels.npy", mmap_mode="r")[..., 0].mean(axis=(1, 2)) / 100, index=ids)
    beyond = manifest["id"].map(light - light.median())
    clear = manifest["fold"].where(beyond.abs() > 4, SPARE)  # pictures in between are of neither class
    rows = manifest.assign(label=(beyond > 0).map(str), fold=clear)
    setup = stage_of(HEAD | {"input": "features/light", "epochs": 30}).setup
    learner = open_classifier(dataclasses.replace(setup, manifest=rows))
    test = learner.examples("test")
    assert len(test) >= 8
    predicted = learner.learn(GIVEN).predict(test).argmax(axis=1)
    assert (predicted == test.labels).mean() > 0.9


def test_other_conventions_for_its_encoder_are_noted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(trained / "model.keras")
    settings = FeaturesSettings.model_validate(FEATURES | {"weights": weights})
    extract_features(settings, Folders(), tmp_path / "features" / "native", seed=5)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == [f"note: {weights} was trained with preprocess: chroma; here it is native"]


def test_a_backbone_gets_the_same_input_as_its_encoder(trained: Path) -> None:
    given = {"weights": str(trained / "model.keras"), "pooling": "avg", "preprocess": "chroma"}
    built = build_extractor("small_cnn", **given, size=SIDE, seed=1)
    saved = load_model(trained / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    inputs = [np.asarray(one.get_layer(CONVENTION_LAYER)(pixels)) for one in (built, saved)]
    np.testing.assert_array_equal(*inputs)
