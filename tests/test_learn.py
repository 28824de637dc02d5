"""Training: learns what can be learned, the same way each time, and says so when it cannot."""

import dataclasses
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.config import section
from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.maths.color import srgb_to_lab
from lamina.stages.evaluate import evaluate
from lamina.stages.extract import extract_run
from lamina.stages.train import train
from lamina.stages.tune import tune
from lamina.tasks.classify.learning import open_task
from lamina.tasks.runs import Tuned, read_run
from lamina.training.callbacks import Silent
from lamina.training.fit import fit
from lamina.training.trainers import ClassTrainer
from lamina.training.training_options import TrainingOptions
from lamina.tuning.search import TuneConfig, search
from lamina.tuning.studies import place_of, resume

SIDE, COPIES = 32, 1
TUNED = Tuned(learning_rate=1e-3, dropout=0.2, decay=0.001)
RUN = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}
PARAMS = {
    "transfer": {
        "runs": {
            "head": RUN
            | {"backbone": "mobilenet_v2", "weights": "none", "watch": "x", "pooling": "avg", "preprocess": "native"}
        }
    },
    "scratch": {"runs": {"cnn": RUN | {"network": "small_cnn"}}},
    "tune": {"trials": 3, "epochs": 2, "learning_rate": [1e-4, 1e-2], "dropout": [0.0, 0.5], "decay": [1e-5, 1e-2]},
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages up to split would have left: 90 pictures of stripes, upright or lying."""
    root = tmp_path_factory.mktemp("system")
    random = np.random.default_rng(0)
    labels = np.array(["lying", "upright"] * 45)
    stripes = np.sin(np.arange(SIDE) * random.uniform(0.8, 1.6, (90, 1)))[:, :, None, None] * 60
    rgb = 128 + np.broadcast_to(stripes, (90, SIDE, SIDE, 3)) + random.normal(0, 20, (90, SIDE, SIDE, 3))
    rgb[labels == "upright"] = rgb[labels == "upright"].transpose(0, 2, 1, 3)
    ids = [f"{number:016x}" for number in range(90)]
    manifest = pd.DataFrame({"id": ids, "origin": ids, "label": labels, "name": ids})
    config = AugmentConfig(
        copies=COPIES, rotation=10.0, shift=0.1, flip_horizontal=True, flip_vertical=True, color=0.05
    )
    plan = draw_plan(manifest, config, seed=1)
    fold = pd.Series(["train"] * 50 + ["validation"] * 20 + ["test"] * 20, index=ids)
    plan["fold"] = plan["id"].map(fold)
    folders = Folders()
    for folder in (folders.lab, folders.augmented, folders.split):
        (root / folder).mkdir(parents=True)
    np.save(root / folders.lab / "pixels.npy", srgb_to_lab(np.clip(rgb, 0, 255).astype(np.uint8)))
    manifest.to_parquet(root / folders.lab / "manifest.parquet")
    plan.to_parquet(root / folders.augmented / "plan.parquet")
    plan[(plan["fold"] == "train") | (plan["copy"] == 0)].to_parquet(root / folders.split / "manifest.parquet")
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


@pytest.fixture(scope="module")
def features(system: Path) -> Path:
    from lamina.models.keras_runtime import keras

    keras.backend.clear_session()
    before = Path.cwd()
    os.chdir(system)
    _, run = read_run(PARAMS, "head")
    extract_run(run, Folders(), Path("data/features/head"), seed=1)
    os.chdir(before)
    return system / "data/features/head"


def rows_of(fold: str) -> pd.DataFrame:
    manifest = pd.read_parquet("data/split/manifest.parquet")
    return manifest[manifest["fold"] == fold]


def test_rows_are_read_alike_in_any_order_and_number() -> None:
    rows = open_rows(rows_of("train"), Folders())
    all_at_once = rows.read(np.arange(len(rows)))
    order = np.random.default_rng(0).permutation(len(rows))[:17]
    np.testing.assert_array_equal(rows.read(order), all_at_once[order])
    np.testing.assert_array_equal(np.concatenate(list(rows.batches(7))), all_at_once)


def test_features_are_those_of_the_saved_backbone(features: Path) -> None:
    from lamina.models.loading import load_model

    found = np.load(features / "features.npy")
    manifest = pd.read_parquet("data/split/manifest.parquet")
    assert found.dtype == np.float16
    assert len(found) == len(manifest)
    pixels = open_rows(manifest, Folders()).read(np.arange(10)).astype(np.float32)
    expected = load_model(features / "backbone.keras").predict(pixels, verbose=0)
    np.testing.assert_allclose(found[:10], expected, rtol=2e-3, atol=2e-3)


def test_features_that_find_no_room_say_so(features: Path, tmp_path: Path) -> None:
    from lamina.inputs.extraction import extract
    from lamina.models.engine import compile_engine
    from lamina.models.loading import load_model

    engine = compile_engine(load_model(features / "backbone.keras"), "float32")
    rows = open_rows(rows_of("test"), Folders())
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("a full disk takes a small file system, which only root can mount")
    try:
        with pytest.raises(OSError, match="No space left on device") as caught:
            extract(engine, rows, tmp_path / "features.npy")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert caught.value.errno == errno.ENOSPC


def test_the_same_backbone_is_the_same_file(features: Path, tmp_path: Path) -> None:
    from lamina.models.keras_runtime import keras

    keras.backend.clear_session()  # as in a process of its own: layers are counted from the first again
    _, run = read_run(PARAMS, "head")
    extract_run(run, Folders(), tmp_path / "again", seed=1)
    for file in ("backbone.keras", "features.npy"):
        assert (tmp_path / "again" / file).read_bytes() == (features / file).read_bytes(), file


def test_the_rate_decays_as_in_older_keras(features: Path) -> None:
    task = open_task("head", read_run(PARAMS, "head")[1], Folders(), seed=1)
    history = task.learn(TUNED, TrainingOptions(epochs=2)).history
    steps = 2 * -(-len(task.train) // 8)
    assert history[-1]["learning_rate"] == pytest.approx(1e-3 / (1 + 0.001 * steps), rel=1e-5)


def test_a_network_from_scratch_learns_what_is_there_to_learn() -> None:
    task = open_task("cnn", read_run(PARAMS, "cnn")[1], Folders(), seed=1)
    history = task.learn(TUNED, TrainingOptions(epochs=8)).history
    assert history[-1]["validation_accuracy"] > 0.9
    assert [row["epoch"] for row in history] == list(range(1, 9))


def test_a_loss_that_is_no_number_ends_training() -> None:
    task = open_task("cnn", read_run(PARAMS, "cnn")[1], Folders(), seed=1)
    trainer = ClassTrainer(task.build(TUNED), TUNED)
    trainer.network.set_weights([np.full_like(weight, np.nan) for weight in trainer.network.get_weights()])
    with pytest.raises(UserError, match=r"the loss is not finite in epoch 1; lower learning_rate"):
        fit(trainer, task.train, task.validation, epochs=2, batch_size=8, seed=1, on_epoch=lambda row: None)


def run_to_the_end(name: str, out: Path) -> None:
    kind, run = read_run(PARAMS, name)
    summary = tune(name, run, section(PARAMS, "tune", TuneConfig), Folders(), Path("studies"), out, seed=1)
    train(name, kind, run, summary.tuned, Folders(), out, Silent(), seed=1)
    evaluate(Folders(), out)


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_two_runs_are_the_same_to_the_byte(name: str, features: Path, tmp_path: Path) -> None:
    from lamina.models.keras_runtime import keras

    for out in (tmp_path / "one", tmp_path / "two"):
        keras.backend.clear_session()  # as in a process of its own: layers are counted from the first again
        run_to_the_end(name, out)
    for file in (
        "metrics.json",
        "history.csv",
        "predictions.parquet",
        "confusion.csv",
        "tuned.yaml",
        "record.json",
        "model.keras",
    ):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_predictions_are_joined_to_labels_by_id_whatever_their_order(features: Path, tmp_path: Path) -> None:
    run_to_the_end("head", tmp_path / "one")
    before = (tmp_path / "one" / "metrics.json").read_bytes()
    path = Path("data/split/manifest.parquet")
    manifest = pd.read_parquet(path)
    try:
        manifest.sample(frac=1, random_state=1).to_parquet(path)
        evaluate(Folders(), tmp_path / "one")
    finally:
        manifest.to_parquet(path)
    assert (tmp_path / "one" / "metrics.json").read_bytes() == before


OPEN = {"learning_rate": "tune", "dropout": "tune", "decay": "tune"}


def test_tuning_looks_only_for_what_is_open(features: Path, tmp_path: Path) -> None:
    params = PARAMS | {"transfer": {"runs": {"head": PARAMS["transfer"]["runs"]["head"] | {"dropout": "tune"}}}}
    _, run = read_run(params, "head")
    config = section(params, "tune", TuneConfig)
    summary = tune("head", run, config, Folders(), tmp_path / "studies", tmp_path, seed=1)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert len(trials) == config.trials
    assert (trials[["learning_rate", "decay"]] == [1e-3, 0.001]).all(axis=None)
    assert trials["dropout"].between(0, 0.5).all()
    assert summary.tuned.dropout == trials.sort_values("value", ascending=False, kind="stable")["dropout"].iloc[0]


def searched(trials: int, folder: Path) -> Path:
    """Tune dropout with so many trials, the study in `folder`; return the table of trials."""
    params = PARAMS | {"transfer": {"runs": {"head": PARAMS["transfer"]["runs"]["head"] | {"dropout": "tune"}}}}
    _, run = read_run(params, "head")
    config = section({"tune": PARAMS["tune"] | {"trials": trials}}, "tune", TuneConfig)
    tune("head", run, config, Folders(), folder / "studies", folder, seed=1)
    return folder / "trials.csv"


def test_fewer_trials_than_a_study_holds_are_as_if_it_had_no_more(features: Path, tmp_path: Path) -> None:
    searched(3, tmp_path / "one")
    assert searched(2, tmp_path / "one").read_bytes() == searched(2, tmp_path / "two").read_bytes()


def test_a_damaged_study_is_named(features: Path, tmp_path: Path) -> None:
    searched(2, tmp_path)
    next((tmp_path / "studies").glob("*.db")).write_bytes(b"no database " * 500)
    with pytest.raises(UserError, match=r"head-\w+\.db: not a study .*; delete it and run again"):
        searched(2, tmp_path)


def test_trials_that_diverge_count_as_nothing_right(features: Path, tmp_path: Path) -> None:
    task = open_task("head", read_run(PARAMS, "head")[1], Folders(), seed=1)
    params = PARAMS | {"transfer": {"runs": {"head": PARAMS["transfer"]["runs"]["head"] | {"dropout": "tune"}}}}
    config = section({"tune": PARAMS["tune"] | {"trials": 2}}, "tune", TuneConfig)
    broken = dataclasses.replace(task, mean=np.full_like(task.mean, np.nan))
    place = place_of("head", "default", {}, tmp_path)
    resume(place)
    _, trials = search(broken, read_run(params, "head")[1], config, place, name="head", seed=1)
    assert trials["value"].tolist() == [0, 0]
    assert trials["epochs"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("learning_rate", 5, "tune.learning_rate"),
        ("learning_rate", None, "tune.learning_rate"),
        ("learning_rate", [1e-5, 100], "less than or equal to 1"),
        ("learning_rate", [0, 1e-2], "greater than 0"),
        ("dropout", [0.0, 1.5], "less than 1"),
        ("decay", [0.1, 0.01], "with low below high"),
        ("trials", -1, "greater than or equal to 0"),
        ("trails", 3, "did you mean 'tune.trials'"),
    ],
)
def test_bad_ranges_are_refused_with_their_place(key: str, value: object, match: str) -> None:
    with pytest.raises(UserError, match=match):
        section({"tune": PARAMS["tune"] | {key: value}}, "tune", TuneConfig)


def test_a_number_left_open_needs_trials(tmp_path: Path) -> None:
    params = PARAMS | {"scratch": {"runs": {"cnn": PARAMS["scratch"]["runs"]["cnn"] | OPEN}}}
    _, run = read_run(params, "cnn")
    config = section({"tune": PARAMS["tune"] | {"trials": 0}}, "tune", TuneConfig)
    with pytest.raises(UserError, match=r"run cnn: learning_rate, dropout, decay: tune, but tune\.trials is 0"):
        tune("cnn", run, config, Folders(), tmp_path / "studies", tmp_path, seed=1)


def write_params(folder: Path, trials: int, workers: int = 1) -> None:
    from ruamel.yaml import YAML

    head = PARAMS["transfer"]["runs"]["head"] | OPEN | {"epochs": 40}
    params = PARAMS | {
        "seed": 1,
        "transfer": {"runs": {"head": head}},
        "tune": PARAMS["tune"] | {"trials": trials, "epochs": 40, "workers": workers},
    }
    YAML().dump(params, folder / "params.yaml")


def finished_trials(study: Path) -> int:
    if not study.exists():
        return 0
    with sqlite3.connect(study, timeout=10) as database:
        try:
            return int(
                database.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')").fetchone()[0]
            )
        except sqlite3.OperationalError:  # the table is not made yet
            return 0


def test_a_killed_study_goes_on_with_its_finished_trials(features: Path, system: Path) -> None:
    write_params(system, trials=6)
    command = [sys.executable, "-m", "lamina.stages.tune", "head"]
    process = subprocess.Popen(command, cwd=system)
    study = None
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        study = next((system / ".lamina/studies").glob("head-*.db"), None)
        if study and finished_trials(study) >= 2:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the study ended before it could be killed"
    assert study is not None
    kept = finished_trials(study)
    assert 2 <= kept < 6
    assert not (system / "models/head/tuned.yaml").exists()
    subprocess.run(command, cwd=system, check=True)
    assert finished_trials(study) == 6
    resumed = (system / "models/head/trials.csv").read_bytes()
    study.unlink()
    subprocess.run(command, cwd=system, check=True)
    assert (system / "models/head/trials.csv").read_bytes() == resumed, (
        "a study that was killed ends as one that was not"
    )


def test_workers_of_one_machine_share_the_trials(features: Path, system: Path) -> None:
    write_params(system, trials=5, workers=2)
    done = subprocess.run(
        [sys.executable, "-m", "lamina.stages.tune", "head"], cwd=system, check=True, capture_output=True, text=True
    )
    assert "best of 5 trials" in done.stdout
    assert "warning" not in done.stderr
    trials = pd.read_csv(system / "models/head/trials.csv")
    assert trials["number"].tolist() == list(range(5))
    assert not trials.duplicated(["learning_rate", "dropout", "decay"]).any()
