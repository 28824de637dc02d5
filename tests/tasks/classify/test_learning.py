"""What classifiers learn: networks and heads, where they start from, mixed precision, and fine-tuning."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.inputs.features import FeaturesSettings
from lamina.inputs.index import read_split
from lamina.maths.class_weights import ClassWeights, class_weights
from lamina.models.backbones import BACKBONE_LAYER
from lamina.models.keras_runtime import keras
from lamina.models.networks import build_head, build_network
from lamina.models.saving import save_model
from lamina.stages.extract import extract_features
from lamina.tasks.classify.learning import ClassHeadLearner, open_learner
from lamina.training.fit import fit
from lamina.training.learner import Learned, TrainingOptions
from lamina.training.settings import GradientNumbers, Recipe
from lamina.training.trainers import ClassTrainer
from systems import FEATURES, HEAD, NETWORK, NUMBERS, learner_of, stage_of, write_classes_as_features, write_stripes

SIDE = 32
GIVEN = GradientNumbers.model_validate(NUMBERS)
FINE = {"layers": 3, "epochs": 3, "learning_rate": 1e-4}
RESNET = HEAD | {"input": "features/resnet"}


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of stripes, and features of a random network that has batch normalization."""
    root = write_stripes(tmp_path_factory.mktemp("system"), train=42, validation=18, test=0)

    with inside(root):
        features = FeaturesSettings.model_validate(FEATURES | {"backbone": "resnet20"})
        extract_features(features, Folders(), Path("data/features/resnet"), seed=1)
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def weights_of(head: keras.Model) -> list[np.ndarray]:
    return [array for name in ("hidden", "classes") for array in head.get_layer(name).get_weights()]


# ---- training


def test_the_learning_rate_decays_as_in_older_keras() -> None:
    learner = learner_of(RESNET)
    history = learner.learn(GIVEN, TrainingOptions(epochs=2)).history
    steps = 2 * -(-len(learner.train) // 8)
    assert history[-1]["learning_rate"] == pytest.approx(1e-3 / (1 + 0.001 * steps), rel=1e-5)


def test_a_network_learns_from_pixels() -> None:
    history = learner_of(NETWORK).learn(GIVEN, TrainingOptions(epochs=8)).history
    assert history[-1]["validation_accuracy"] > 0.9
    assert [row["epoch"] for row in history] == list(range(1, 9))


def test_an_infinite_loss_ends_training() -> None:
    learner = learner_of(NETWORK)
    trainer = ClassTrainer(learner.build(GIVEN), GIVEN)
    trainer.network.set_weights([np.full_like(weight, np.nan) for weight in trainer.network.get_weights()])
    with pytest.raises(UserError, match=r"the loss is not finite in epoch 1; lower learning_rate"):
        fit(trainer, learner.train, learner.validation, learner.settings, TrainingOptions(epochs=2), seed=1)


@pytest.mark.parametrize("kind", ["none", "balanced", "sqrt"])
def test_a_network_is_trained_with_the_weights_of_the_classes(kind: ClassWeights) -> None:
    learner = learner_of(NETWORK | {"class_weights": kind})
    found = learner.trainer(learner.build(GIVEN), GIVEN, Recipe(), steps=1).class_weights
    expected = class_weights(learner.train.labels, len(learner.names), kind)
    np.testing.assert_array_equal(1 if found is None else found, expected)
    assert (kind == "none") == (found is None)


# ---- where training starts


def test_a_head_starts_from_the_head_of_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_classes_as_features(tmp_path))
    head = build_head(24, 3, dropout=0.5, mean=np.zeros(24), variance=np.ones(24), seed=7)
    Path("models/other").mkdir(parents=True)
    pixels = keras.Input((24,))  # a saved classifier holds its head as a layer
    save_model(keras.Model(pixels, head(pixels), name="classifier"), Path("models/other/model.keras"))
    learner = learner_of(HEAD | {"weights": "models/other/model.keras"})
    assert isinstance(learner, ClassHeadLearner)
    for mine, theirs in zip(learner.head(GIVEN).kept, weights_of(head), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    started, random = learner.learn(GIVEN).history, learner_of(HEAD).learn(GIVEN).history
    assert started[0]["train_loss"] != random[0]["train_loss"]
    again = learner_of(HEAD | {"weights": "models/other/model.keras"}).learn(GIVEN).history
    assert again == started


def test_a_head_continues_from_what_it_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_classes_as_features(tmp_path))
    learned = learner_of(HEAD).learn(GIVEN, TrainingOptions(epochs=30))
    save_model(learned.network, Path("head.keras"))
    started = learner_of(HEAD | {"weights": "head.keras"})
    before = started.learned(started.head(GIVEN)).predict(started.validation)
    np.testing.assert_allclose(before, learned.predict(started.validation), atol=1e-5)
    assert started.learn(GIVEN).history[0]["train_loss"] < learner_of(HEAD).learn(GIVEN).history[0]["train_loss"]


@pytest.mark.parametrize(("width", "classes", "layer"), [(20, 3, "hidden"), (24, 4, "classes")])
def test_a_head_of_another_shape_is_refused(
    width: int, classes: int, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_classes_as_features(tmp_path))
    other = build_head(width, classes, dropout=0.5, mean=np.zeros(width), variance=np.ones(width), seed=7)
    save_model(other, Path("model.keras"))
    words = (
        rf"model\.keras does not fit this network: layer {layer}: expected .*; give that of a run with as many features"
    )
    with pytest.raises(UserError, match=words):
        learner_of(HEAD | {"weights": "model.keras"}).learn(GIVEN)


def test_the_backbone_of_a_network_starts_from_another_run(tmp_path: Path) -> None:
    other = build_network("small_cnn", 48, 5, dropout=0.5, seed=7)  # other pictures and classes
    save_model(other, tmp_path / "model.keras")
    learner = learner_of(NETWORK | {"weights": str(tmp_path / "model.keras")})
    built, random = learner.build(GIVEN), learner_of(NETWORK).build(GIVEN)
    start = other.get_layer(BACKBONE_LAYER).get_weights()
    for mine, theirs in zip(built.get_layer(BACKBONE_LAYER).get_weights(), start, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(weights_after(built), weights_after(random), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    history = learner.learn(GIVEN, TrainingOptions(epochs=1)).history
    assert history != learner_of(NETWORK).learn(GIVEN, TrainingOptions(epochs=1)).history


def weights_after(network: keras.Model) -> list[np.ndarray]:
    """Weights of the layers that follow the backbone."""
    after = (layer for layer in network.layers if layer.name != BACKBONE_LAYER)
    return [array for layer in after for array in layer.get_weights()]


def test_missing_weights_name_the_stage_that_fetches_them() -> None:
    path = "weights/imagenet/mobilenet_v2.weights.h5"
    with pytest.raises(
        UserError, match=r"mobilenet_v2\.weights\.h5 is not there; list mobilenet_v2 under weights\.imag"
    ):
        learner_of(NETWORK | {"network": "mobilenet_v2", "weights": path}).build(GIVEN)


# ---- mixed precision


def nested(layer: keras.layers.Layer) -> bool:
    """Whether it is a network of layers, or an input."""
    return isinstance(layer, keras.Model | keras.layers.InputLayer)


def test_layers_compute_in_bfloat16_with_weights_in_float32() -> None:
    learner = learner_of(NETWORK | {"precision": "bfloat16"})
    network = learner.build(GIVEN)
    computed = {layer.name: layer.compute_dtype for layer in network._flatten_layers() if not nested(layer)}
    assert computed.pop("classes") == "float32"
    assert {dtype for name, dtype in computed.items() if not name.startswith("rgb")} == {"bfloat16"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
    pixels = learner.train.rows.read(np.arange(8)).astype(np.float32)
    found, exact = network(pixels), learner_of(NETWORK).build(GIVEN)(pixels)
    assert found.dtype == "float32"
    assert 0 < np.abs(found - exact).max() < 0.05
    learned = learner.learn(GIVEN, TrainingOptions(epochs=6))
    assert learned.history[-1]["validation_accuracy"] > 0.8
    saved = learner.build_final_model(learned.network, None)._flatten_layers()
    assert {layer.compute_dtype for layer in saved if not nested(layer)} == {"float32"}


# ---- fine-tuning


@pytest.fixture(scope="module")
def fine_tuned(system: Path) -> Learned:
    with inside(system):
        keras.backend.clear_session()
        return learner_of(RESNET | {"fine_tune": FINE}).learn_final(GIVEN)


def test_the_last_layers_learn_and_no_others(fine_tuned: Learned) -> None:
    path = Path("data/features/resnet/backbone.keras")
    before = keras.saving.load_model(path, compile=False).get_layer(BACKBONE_LAYER)
    after = fine_tuned.network.get_layer(BACKBONE_LAYER)
    changed = [
        layer.name
        for layer, old in zip(after.layers, before.layers, strict=True)
        if any((a != b).any() for a, b in zip(layer.get_weights(), old.get_weights(), strict=True))
    ]
    can = [x.name for x in after.layers if x.weights and not isinstance(x, keras.layers.BatchNormalization)]
    assert changed == can[-3:]


def test_the_history_counts_on_and_marks_the_phases(fine_tuned: Learned) -> None:
    history = fine_tuned.history
    assert [row["epoch"] for row in history] == list(range(1, 8))
    assert [row["fine_tuning"] for row in history] == [0] * 4 + [1] * 3
    assert history[3]["learning_rate"] > 9e-4 > 1e-4 > history[4]["learning_rate"]
    assert history[-1]["train_loss"] < history[3]["train_loss"]


def test_the_fine_tuned_network_is_the_one_that_was_evaluated(fine_tuned: Learned) -> None:
    examples = learner_of(RESNET).pictures("validation")
    found = fine_tuned.network(examples.rows.read(np.arange(len(examples))).astype(np.float32)).numpy()
    assert (found.argmax(axis=1) == examples.labels).mean() == fine_tuned.history[-1]["validation_accuracy"]


def test_the_rows_of_a_fine_tuned_run_are_judged_from_pixels(fine_tuned: Learned) -> None:
    learner = learner_of(RESNET | {"fine_tune": FINE})
    judged = learner.judge(fine_tuned, "validation")
    assert list(judged.columns) == ["label", "predicted", "p:lying", "p:upright"]
    accuracy = learner.summarise(judged.assign(origin=range(len(judged))))["accuracy"]
    assert accuracy == pytest.approx(fine_tuned.history[-1]["validation_accuracy"])


def test_more_layers_than_the_backbone_has_are_refused() -> None:
    learner = learner_of(RESNET | {"fine_tune": FINE | {"layers": 500}, "epochs": 1})
    words = r"fine_tune\.layers: this backbone has \d+ layers that learn, got 500; lower it"
    with pytest.raises(UserError, match=words):
        learner.learn_final(GIVEN)


# ---- classes


def test_a_class_that_a_fold_lacks_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_split(Folders())
    upright = manifest["label"] == "upright"

    def opened(rows: pd.DataFrame) -> object:
        return open_learner(dataclasses.replace(stage_of(NETWORK).setup, manifest=rows))

    with pytest.raises(UserError, match=r"nothing of upright in the fold train; add some of other origins, or leave"):
        opened(manifest[~upright | (manifest["fold"] != "train")])
    opened(manifest)
    assert capsys.readouterr().err == ""
    opened(manifest[~upright | (manifest["fold"] != "validation")])
    assert "nothing of upright in the fold validation" in capsys.readouterr().err


def test_less_than_two_classes_are_refused() -> None:
    manifest = read_split(Folders())
    with pytest.raises(UserError, match=r"expected at least two classes, found \['lying'\]; look at source\.labels"):
        open_learner(dataclasses.replace(stage_of(NETWORK).setup, manifest=manifest[manifest["label"] == "lying"]))
