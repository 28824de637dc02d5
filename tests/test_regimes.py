"""Regimes of training: when to stop, what to weigh and average, what to unfreeze, and how to go on after a kill."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lamina.tasks.classify.fine_tuning import learn_whole
from ruamel.yaml import YAML

from lamina.config import section
from lamina.data.augmentation import PLAN_COLUMNS, AugmentConfig, draw_fresh, draw_plan
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.inputs.pixels import PictureExamples
from lamina.maths.color import srgb_to_lab
from lamina.models.keras_runtime import keras, tf
from lamina.stages.extract import extract_run
from lamina.tasks.classify.learning import balanced_weights, class_task, open_task
from lamina.tasks.runs import Tuned, read_run
from lamina.training.checkpoint import Checkpoint, State
from lamina.training.fit import fit
from lamina.training.history import DivergedError, kept_row
from lamina.training.learner import Learned, Task
from lamina.training.memory import free_memory
from lamina.training.trainers import ClassTrainer
from lamina.training.training_options import TrainingOptions

SIDE = 32
AUGMENT = {"copies": 1, "rotation": 10.0, "shift": 0.1, "flip_horizontal": True, "flip_vertical": True, "color": 0.05}
TUNED = {"learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}
STILL = Tuned(learning_rate=1e-2, dropout=0.0, decay=0.0)
RUN = TUNED | {"epochs": 4, "batch_size": 8}
HEAD = RUN | {"backbone": "mobilenet_v2", "weights": "none", "watch": "x", "pooling": "avg", "preprocess": "native"}
FINE = {"layers": 3, "epochs": 3, "learning_rate": 1e-4}
EVERYTHING = {"patience": 3, "class_weights": "balanced", "label_smoothing": 0.1, "average": 0.9}
PARAMS = {
    "seed": 1,
    "augment": AUGMENT,
    "transfer": {"runs": {"head": HEAD, "fine": HEAD | {"fine_tune": FINE}}},
    "scratch": {
        "runs": {
            "cnn": RUN | {"network": "small_cnn"},
            "all": RUN | EVERYTHING | {"network": "small_cnn", "augmentation": "fresh", "precision": "bfloat16"},
        }
    },
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages up to extract would have left: 60 pictures of stripes, 40 lying and 20 upright."""
    root = tmp_path_factory.mktemp("system")
    random = np.random.default_rng(0)
    labels = np.array(["lying", "upright", "lying"] * 20)
    stripes = np.sin(np.arange(SIDE) * random.uniform(0.8, 1.6, (60, 1)))[:, :, None, None] * 60
    rgb = 128 + np.broadcast_to(stripes, (60, SIDE, SIDE, 3)) + random.normal(0, 20, (60, SIDE, SIDE, 3))
    rgb[labels == "upright"] = rgb[labels == "upright"].transpose(0, 2, 1, 3)
    ids = [f"{number:016x}" for number in range(60)]
    manifest = pd.DataFrame({"id": ids, "origin": ids, "label": labels, "name": ids})
    plan = draw_plan(manifest, section(PARAMS, "augment", AugmentConfig), seed=1)
    plan["fold"] = plan["id"].map(pd.Series(["train"] * 42 + ["validation"] * 18, index=ids))
    folders = Folders()
    for folder in (folders.lab, folders.augmented, folders.split):
        (root / folder).mkdir(parents=True)
    np.save(root / folders.lab / "pixels.npy", srgb_to_lab(np.clip(rgb, 0, 255).astype(np.uint8)))
    manifest.to_parquet(root / folders.lab / "manifest.parquet")
    plan.to_parquet(root / folders.augmented / "plan.parquet")
    plan[(plan["fold"] == "train") | (plan["copy"] == 0)].to_parquet(root / folders.split / "manifest.parquet")
    YAML().dump(PARAMS, root / "params.yaml")
    for name in ("head", "fine", "cnn", "all"):
        (root / "models" / name).mkdir(parents=True)
        YAML().dump(TUNED, root / "models" / name / "tuned.yaml")
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


@pytest.fixture(scope="module")
def features(system: Path) -> Path:
    before = Path.cwd()
    os.chdir(system)
    _, run = read_run(PARAMS, "head")
    for name in ("head", "fine"):
        keras.backend.clear_session()
        extract_run(run, Folders(), Path("data/features") / name, seed=1)
    os.chdir(before)
    return system / "data/features"


def task_of(name: str, **changed: object) -> Task:
    run = read_run(PARAMS, name)[1]
    run = type(run).model_validate(run.model_dump() | changed)
    return open_task(name, run, Folders(), seed=1, augment=section(PARAMS, "augment", AugmentConfig))


def small_network(normalised: bool = False) -> keras.Model:
    """From 6 numbers to 3 classes."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential(
        [keras.Input((6,)), *layers[:1], *[keras.layers.BatchNormalization()] * normalised, layers[1]]
    )


class Numbers(np.ndarray):
    """Rows of numbers, read as those of pictures are."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self[rows])


def random_examples(rows: int, seed: int) -> PictureExamples:
    """Numbers that tell nothing of their labels: more training fits chance, and validation shows it."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, rows, p=[0.6, 0.3, 0.1]).astype(np.int32)
    return PictureExamples(random.normal(size=(rows, 6)).view(Numbers), labels)


def fitted(trainer: ClassTrainer, epochs: int, **options: object) -> list[dict[str, float]]:
    defaults = {"batch_size": 8, "seed": 1, "on_epoch": lambda row: None}
    return fit(trainer, random_examples(40, 0), random_examples(40, 1), epochs=epochs, **(defaults | options))


# what a run is told


@pytest.mark.parametrize(
    ("name", "told", "match"),
    [
        ("cnn", {"patience": 0}, r"scratch\.runs\.cnn\.patience: .*greater than or equal to 1"),
        ("cnn", {"class_weights": "even"}, r"scratch\.runs\.cnn\.class_weights: .*'none' or 'balanced'"),
        ("cnn", {"label_smoothing": 1.0}, r"scratch\.runs\.cnn\.label_smoothing: .*less than 1"),
        ("cnn", {"average": -0.1}, r"scratch\.runs\.cnn\.average: .*greater than or equal to 0"),
        ("cnn", {"precision": "float16"}, r"scratch\.runs\.cnn\.precision: .*'float32' or 'bfloat16'"),
        ("cnn", {"augmentation": "none"}, r"scratch\.runs\.cnn\.augmentation: .*'plan' or 'fresh'"),
        ("head", {"precision": "float16"}, r"transfer\.runs\.head\.precision: .*'float32' or 'bfloat16'"),
        ("fine", {"fine_tune": 3}, r"transfer\.runs\.fine\.fine_tune: expected .* keys layers, epochs, learning_rate"),
        ("fine", {"fine_tune": FINE | {"layers": 0}}, r"transfer\.runs\.fine\.fine_tune\.layers: .*got 0"),
        ("fine", {"fine_tune": FINE | {"layer": 1}}, r"did you mean 'transfer\.runs\.fine\.fine_tune\.layers'\?"),
        ("fine", {"fine_tune": {"layers": 1, "epochs": 1}}, r"fine_tune\.learning_rate is missing"),
    ],
)
def test_a_bad_option_is_refused_with_its_place(name: str, told: dict[str, object], match: str) -> None:
    kind = "transfer" if name in PARAMS["transfer"]["runs"] else "scratch"
    params = PARAMS | {kind: {"runs": {name: PARAMS[kind]["runs"][name] | told}}}
    with pytest.raises(UserError, match=match):
        read_run(params, name)


# losses


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.random.default_rng(0).choice(3, 50, p=[0.6, 0.3, 0.1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, 3), expected, rtol=1e-6)
    task = task_of("cnn", class_weights="balanced")
    assert (
        np.bincount(task.train.labels, weights=balanced_weights(task.train.labels, 2)[task.train.labels]).std() < 1e-3
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]])
def test_losses_are_weighted_and_smoothed_as_the_formula_says(smoothing: float, weights: list[float] | None) -> None:
    network, examples = small_network(), random_examples(12, 2)
    inputs, labels = tf.cast(np.asarray(examples.rows), tf.float32), examples.labels
    told = np.log(network(inputs).numpy().astype(float))
    expected = -(1 - smoothing) * told[np.arange(12), labels] - smoothing * told.mean(axis=1)
    plain = -told[np.arange(12), labels]
    trainer = ClassTrainer(
        network, STILL, class_weights=None if weights is None else np.array(weights), label_smoothing=smoothing
    )
    assert float(trainer.eval_step(inputs, labels)[0]) == pytest.approx(plain.sum(), rel=1e-4)
    learned = float(trainer.train_step(inputs, labels)[0])
    assert learned == pytest.approx((expected * (1 if weights is None else np.array(weights)[labels])).sum(), rel=1e-4)


# when to stop, and what to keep


@pytest.mark.parametrize("average", [0.0, 0.8])
def test_training_stops_when_patience_ends_and_keeps_the_best_weights(average: float) -> None:
    trainer = ClassTrainer(small_network(), STILL, ema_decay=average)
    history = fitted(trainer, epochs=200, patience=4)
    losses = [row["validation_loss"] for row in history]
    best = int(np.argmin(losses))
    assert len(history) == best + 1 + 4 < 200
    assert kept_row(history, 4) is history[best]
    loss, right = random_examples(40, 1).evaluate(trainer, 8)
    assert (loss / 40, right / 40) == pytest.approx((losses[best], history[best]["validation_accuracy"]), rel=1e-6)


def test_without_patience_the_last_weights_are_kept() -> None:
    trainer = ClassTrainer(small_network(), STILL)
    history = fitted(trainer, epochs=30)
    assert len(history) == 30
    assert kept_row(history, None) is history[-1]
    assert random_examples(40, 1).evaluate(trainer, 8)[0] / 40 == pytest.approx(history[-1]["validation_loss"])
    assert min(row["validation_loss"] for row in history) < history[-1]["validation_loss"]


def test_the_best_epoch_is_one_of_the_last_phase() -> None:
    rows = [{"epoch": e, "validation_loss": loss, "fine_tuning": e > 2} for e, loss in enumerate([3, 1, 5, 4, 6], 1)]
    assert kept_row(rows, 9)["epoch"] == 4


def test_averages_follow_the_weights_and_the_statistics() -> None:
    network, examples = small_network(normalised=True), random_examples(16, 3)
    trainer = ClassTrainer(network, STILL, ema_decay=0.6)
    expected = network.get_weights()
    for step in range(1, 9):
        trainer.train_step(tf.cast(np.asarray(examples.rows), tf.float32), examples.labels)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, network.get_weights(), strict=True)]
    raw = network.get_weights()
    for found, average, weight in zip(trainer.evaluated_weights(), expected, raw, strict=True):
        np.testing.assert_allclose(found, average, rtol=1e-4, atol=1e-6)
        assert not np.allclose(average, weight, rtol=1e-4), "statistics of batch normalisations included"
    np.testing.assert_array_equal(
        np.concatenate([w.ravel() for w in network.get_weights()]), np.concatenate([w.ravel() for w in raw])
    )
    trainer.keep_weights([])
    np.testing.assert_allclose(network.get_weights()[0], expected[0], rtol=1e-4, atol=1e-6)


# fresh pictures


def test_fresh_rows_are_others_in_each_epoch_and_the_same_again() -> None:
    rows = pd.DataFrame({"id": [f"{number:016x}" for number in range(50) for _ in range(3)], "copy": [0, 1, 2] * 50})
    config = AugmentConfig(copies=2, rotation=20.0, shift=0.1, flip_horizontal=True, flip_vertical=False, color=0.05)
    first, again, second = (draw_fresh(rows, config, seed=1, epoch=epoch) for epoch in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    angles = np.concatenate([first["angle"], second["angle"], draw_fresh(rows, config, seed=2, epoch=1)["angle"]])
    assert len(np.unique(angles)) == len(angles), "each epoch, copy and seed another"
    some = rows.sample(40, random_state=1)
    pd.testing.assert_frame_equal(
        draw_fresh(some, config, seed=1, epoch=1), first.loc[some.index].reset_index(drop=True)
    )
    assert (first["copy"] > 0).all(), "originals are warped as well"
    assert first["angle"].abs().max() <= 20
    assert first["angle"].abs().max() > 18
    assert first[["shift_x", "shift_y"]].abs().to_numpy().max() <= 0.1
    assert first[["gain_red", "gain_green", "gain_blue"]].sub(1).abs().to_numpy().max() <= 0.05
    assert 0.3 < first["flip_horizontal"].mean() < 0.7
    assert not first["flip_vertical"].any()
    assert list(first.columns) == ["copy", *PLAN_COLUMNS]


def test_fresh_pictures_are_read_as_drawn_and_belong_to_the_run() -> None:
    task, planned = task_of("cnn", augmentation="fresh"), task_of("cnn")
    one, other = task.anew(1), task.anew(2)
    assert len(one) == len(other) == len(planned.train), "epochs are of one size"
    np.testing.assert_array_equal(one.rows.read([0, 5]), task.anew(1).rows.read([0, 5]))
    assert (one.rows.read([0, 5]) != other.rows.read([0, 5])).mean() > 0.5
    assert (one.rows.read([0]) != planned.train.rows.read([0])).mean() > 0.5, "an original is warped as well"
    assert task.digest != planned.digest
    assert planned.anew is None


# mixed precision


def nested(layer: keras.layers.Layer) -> bool:
    """Whether it is a network of layers, or takes what is put in."""
    return isinstance(layer, keras.Model | keras.layers.InputLayer)


def test_layers_compute_in_bfloat16_over_float32(tmp_path: Path) -> None:
    task = task_of("cnn", precision="bfloat16")
    network = task.build(Tuned.model_validate(TUNED))
    computed = {layer.name: layer.compute_dtype for layer in network._flatten_layers() if not nested(layer)}
    assert computed.pop("classes") == "float32"
    assert {dtype for name, dtype in computed.items() if not name.startswith("rgb")} == {"bfloat16"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert network(np.zeros((1, SIDE, SIDE, 3))).dtype == "float32"
    learned = task.learn(Tuned.model_validate(TUNED), TrainingOptions(epochs=6))
    assert learned.history[-1]["validation_accuracy"] > 0.85
    exact = task_of("cnn").learn(Tuned.model_validate(TUNED), TrainingOptions(epochs=1)).history[0]["train_loss"]
    assert learned.history[0]["train_loss"] == pytest.approx(exact, rel=0.05)
    assert learned.history[0]["train_loss"] != exact
    whole = [layer for layer in task.whole(learned.network, task.load())._flatten_layers() if not nested(layer)]
    assert {layer.compute_dtype for layer in whole} == {"float32"}


# fine-tuning


@pytest.fixture(scope="module")
def tuned_finely(system: Path, features: Path) -> Learned:
    before = Path.cwd()
    os.chdir(system)
    keras.backend.clear_session()
    learned = learn_whole(task_of("fine"), Tuned.model_validate(TUNED))
    os.chdir(before)
    return learned


def test_the_last_layers_learn_and_no_others(tuned_finely: Learned, features: Path) -> None:
    before = keras.saving.load_model(features / "fine" / "backbone.keras", compile=False).get_layer("backbone")
    after = tuned_finely.network.get_layer("backbone")
    changed = [
        layer.name
        for layer, old in zip(after.layers, before.layers, strict=True)
        if any((a != b).any() for a, b in zip(layer.get_weights(), old.get_weights(), strict=True))
    ]
    can = [x.name for x in after.layers if x.weights and not isinstance(x, keras.layers.BatchNormalization)]
    assert changed == can[-3:]


def test_the_history_counts_on_and_tells_the_phases_apart(tuned_finely: Learned) -> None:
    history = tuned_finely.history
    assert [row["epoch"] for row in history] == list(range(1, 8))
    assert [row["fine_tuning"] for row in history] == [0] * 4 + [1] * 3
    assert history[3]["learning_rate"] > 9e-4 > 1e-4 > history[4]["learning_rate"]
    assert history[-1]["train_loss"] < history[3]["train_loss"]


def test_the_tuned_network_is_the_one_that_was_judged(tuned_finely: Learned) -> None:
    examples = task_of("fine").pictures("validation")
    found = tuned_finely.network(examples.rows.read(np.arange(len(examples))).astype(np.float32)).numpy()
    assert (found.argmax(axis=1) == examples.labels).mean() == tuned_finely.history[-1]["validation_accuracy"]


def test_more_layers_than_there_are_is_said(features: Path) -> None:
    task = task_of("fine", fine_tune=FINE | {"layers": 500}, epochs=1)
    with pytest.raises(
        UserError, match=r"fine_tune\.layers: this backbone has 52 layers that learn, got 500; lower it"
    ):
        learn_whole(task, Tuned.model_validate(TUNED))


# going on after a kill


def start(name: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "lamina.stages.train", name], cwd=folder)


def saved_epochs(folder: Path, name: str) -> int:
    for file in (folder / ".lamina/training" / name).glob("????????????????.npz"):
        state = Checkpoint(file).load()
        return len(state.history) if state else 0
    return 0


def outputs(folder: Path, name: str) -> dict[str, bytes]:
    files = ("model.keras", "history.csv", "record.json")
    return {file: (folder / "models" / name / file).read_bytes() for file in files}


@pytest.mark.parametrize("name", ["all", "fine"])
def test_a_killed_training_ends_as_one_that_was_not(name: str, system: Path, features: Path) -> None:
    from lamina.tracking import store

    store.open_store(system)  # or the kill might come while it is being made
    process = start(name, system)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline and not saved_epochs(system, name):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "training ended before it could be killed"
    kept = saved_epochs(system, name)
    assert 1 <= kept < (4 if name == "all" else 3)
    assert not (system / "models" / name / "model.keras").exists()
    assert start(name, system).wait() == 0
    resumed = outputs(system, name)
    assert not (system / ".lamina/training" / name).exists(), "what was saved underway is removed"
    assert_each_epoch_once(system, name)
    assert start(name, system).wait() == 0
    for file, content in outputs(system, name).items():
        assert content == resumed[file], file


def assert_each_epoch_once(system: Path, name: str) -> None:
    """MLflow shows the run that was killed and went on as one, with no epoch twice; a busy store may lack the last."""
    from lamina.tracking import store

    opened = store.open_store(system)
    [run] = opened.client.search_runs(
        [experiment.experiment_id for experiment in opened.client.search_experiments()],
        f"attributes.run_name = '{name}'",
    )
    history = pd.read_csv(system / "models" / name / "history.csv")
    told = opened.client.get_metric_history(run.info.run_id, "validation_loss")
    assert told
    assert [metric.step for metric in told] == history["epoch"].tolist()[: len(told)]
    assert [metric.value for metric in told] == history["validation_loss"].tolist()[: len(told)]


def test_a_training_that_stopped_midway_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    def trainer() -> ClassTrainer:
        network = small_network(normalised=True)
        dropout = keras.layers.Dropout(0.5, seed=1)(network.outputs[0])
        out = keras.layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(seed=1))(
            dropout
        )
        return ClassTrainer(keras.Model(network.inputs, out), STILL, ema_decay=0.8)

    whole = trainer()
    expected = fitted(whole, epochs=8, patience=5)
    with pytest.raises(KeyboardInterrupt):
        fitted(trainer(), epochs=8, patience=5, checkpoint=Checkpoint(tmp_path / "x.npz"), on_epoch=stop)
    resumed, told = trainer(), []
    found = fitted(resumed, epochs=8, patience=5, checkpoint=Checkpoint(tmp_path / "x.npz"), on_epoch=told.append)
    assert found == expected == told
    for one, other in zip(resumed.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    history = [{"epoch": 1, "train_loss": 0.1 + 0.2}, {"epoch": 2, "train_loss": 1e-9}]
    variables = [np.arange(12, dtype=np.float32) + number for number in range(11)]
    Checkpoint(tmp_path / "x.npz").keep(State(history=history, variables=variables, best=variables[:1]))
    found = Checkpoint(tmp_path / "x.npz").load()
    assert found.history == history
    assert isinstance(found.history[0]["epoch"], int)
    np.testing.assert_array_equal(found.variables, variables)
    assert len(found.best) == 1
    assert Checkpoint(tmp_path / "y.npz").load() is None


def test_saving_takes_little_of_the_time_and_loses_nothing(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "x.npz")
    states = [State(history=[{"epoch": epoch}] * epoch, variables=[np.zeros(10**6)], best=[]) for epoch in range(1, 9)]
    for state in states:
        checkpoint.keep(state)  # at once: only the first is written, the others would cost more than 5 %
    assert len(Checkpoint(checkpoint.path).load().history) == 1
    checkpoint.flush()
    assert len(Checkpoint(checkpoint.path).load().history) == 8


@pytest.mark.parametrize("damage", ["no zip", "pickle", "other"])
def test_a_damaged_state_is_named_and_not_executed(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if damage == "no zip":
        path.write_bytes(b"no zip" * 100)
    elif damage == "pickle":
        np.savez(path, history=np.array([{"epoch": 1}], dtype=object))
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("other", "x")
    with pytest.raises(UserError, match=r"x\.npz: not a training state .*; delete it and run again"):
        Checkpoint(path).load()


def test_a_state_of_another_network_is_named(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "x.npz")
    checkpoint.keep(State(history=[{"epoch": 1}], variables=[np.zeros(3)], best=[]))
    with pytest.raises(UserError, match=r"x\.npz: of another network; delete it and run again"):
        fitted(ClassTrainer(small_network(), STILL), epochs=2, checkpoint=checkpoint)


# what can go wrong


def test_where_the_loss_ends_the_last_good_weights_are_kept(tmp_path: Path) -> None:
    trainer, checkpoint, good = ClassTrainer(small_network(), STILL), Checkpoint(tmp_path / "x.npz"), []

    def poison(row: dict[str, float]) -> None:
        good[:] = trainer.network.get_weights()
        if row["epoch"] == 3:
            trainer.network.set_weights([weight * np.nan for weight in good])

    with pytest.raises(DivergedError, match=r"in epoch 4; lower learning_rate; the weights of epoch 3 are in .*x\.npz"):
        fitted(trainer, epochs=9, checkpoint=checkpoint, on_epoch=poison)
    saved = checkpoint.load()
    assert [row["epoch"] for row in saved.history] == [1, 2, 3]
    np.testing.assert_array_equal(saved.variables[0], good[0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is known to refuse memory that it has not")
def test_a_batch_without_memory_says_which_would_fit() -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1":
        pytest.skip("this machine promises memory that it has not")
    rows = free_memory() // (8 * 6 * 4)  # an eighth of the memory for each row
    inputs = keras.Input((6,))
    wide = keras.layers.GlobalAveragePooling1D()(keras.layers.RepeatVector(rows)(inputs))
    trainer = ClassTrainer(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(wide)), STILL)
    with pytest.raises(UserError, match=r"batch_size 40 \(a step needs up to .* MiB .*\); lower it: [34] should fit"):
        fitted(trainer, epochs=1, batch_size=40)


# a class without pictures


def test_a_class_that_a_fold_lacks_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = pd.read_parquet("data/split/manifest.parquet")
    upright = manifest["label"] == "upright"
    _, run = read_run(PARAMS, "cnn")
    with pytest.raises(UserError, match=r"no picture of upright in the fold train; add pictures of other origins, or"):
        class_task("cnn", run, Folders(), seed=1, manifest=manifest[~upright | (manifest["fold"] != "train")])
    class_task("cnn", run, Folders(), seed=1, manifest=manifest)
    assert capsys.readouterr().err == ""
    class_task("cnn", run, Folders(), seed=1, manifest=manifest[~upright | (manifest["fold"] != "validation")])
    assert "no picture of upright in the fold validation" in capsys.readouterr().err
