"""Heads over features: they learn as Keras would have them learn, without TensorFlow."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.data.rows import Folders
from lamina.tasks.classify.learning import HeadTask, open_task
from lamina.tasks.runs import TransferRun, Tuned
from lamina.training.head_cache import HeadCache
from lamina.training.heads import Head, _logits, make_fold, train_head
from lamina.training.history import DivergedError, EpochRow
from lamina.training.learner import Learned
from lamina.training.training_options import TrainingOptions

TRAIN, VALIDATION, WIDTH, CLASSES = 85, 40, 24, 3
STILL = Tuned(learning_rate=1e-3, dropout=0.0, decay=0.01)
DROPPING = Tuned(learning_rate=1e-3, dropout=0.4, decay=0.001)
NETWORK = {"backbone": "vgg16", "weights": "none", "watch": "x", "pooling": "avg", "preprocess": "native"}


def run(**options: object) -> TransferRun:
    numbers = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.0, "decay": 0.01}
    return TransferRun.model_validate(NETWORK | numbers | options)


@pytest.fixture(scope="module", autouse=True)
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before tune leave: features that tell three classes apart, not quite; 85 rows fill no batch."""
    root, folders, random = tmp_path_factory.mktemp("system"), Folders(), np.random.default_rng(0)
    numbers = random.choice(CLASSES, TRAIN + VALIDATION, p=[0.6, 0.3, 0.1])
    numbers[:CLASSES] = range(CLASSES)
    scales = 10.0 ** random.integers(-1, 3, WIDTH)
    features = (random.normal(size=(CLASSES, WIDTH))[numbers] + random.normal(size=(len(numbers), WIDTH)) * 2) * scales
    ids = [f"{number:016x}" for number in range(len(numbers))]
    manifest = pd.DataFrame({"id": ids, "origin": ids, "label": np.array(["a", "b", "c"])[numbers], "copy": 0})
    manifest["fold"] = ["train"] * TRAIN + ["validation"] * VALIDATION
    for folder in (folders.lab, folders.split, folders.features / "head"):
        (root / folder).mkdir(parents=True)
    np.save(root / folders.lab / "pixels.npy", np.zeros((1, 8, 8, 3), np.int16))
    np.save(root / folders.features / "head" / "features.npy", features.astype(np.float16))
    manifest.to_parquet(root / folders.split / "manifest.parquet")
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def opened(**options: object) -> HeadTask:
    task = open_task("head", run(**options), Folders(), seed=5)
    assert isinstance(task, HeadTask)
    return task


def weights_of(learned: Learned) -> list[np.ndarray]:
    return [array for name in ("hidden", "classes") for array in learned.network.get_layer(name).get_weights()]


def by_keras(task: HeadTask, epochs: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights, and their averages, of a Keras head that takes the same steps with Keras' own optimiser and loss."""
    from lamina.models.keras_runtime import keras

    network = task.learned(task.head(STILL)).network
    schedule = keras.optimizers.schedules.InverseTimeDecay(STILL.learning_rate, 1, STILL.decay)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=task.run.label_smoothing)
    network.compile(keras.optimizers.RMSprop(schedule), loss)
    counts = np.bincount(task.train.labels)
    factors = len(task.train) / (CLASSES * counts) if task.run.class_weights == "balanced" else np.ones(CLASSES)
    inputs, labels = task.train.features.astype(np.float32), task.train.labels
    averages, steps = [weight.copy() for weight in trained(network)], 0
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng([task.seed, epoch]).permutation(len(labels))
        for rows in np.split(order, range(8, len(order), 8)):
            network.train_on_batch(inputs[rows], np.eye(CLASSES)[labels[rows]], sample_weight=factors[labels[rows]])
            steps += 1
            decay = min(task.run.average, (1 + steps) / (10 + steps))
            pairs = zip(averages, trained(network), strict=True)
            averages = [decay * average + (1 - decay) * weight for average, weight in pairs]
    return trained(network), averages


def trained(network: object) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in network.trainable_weights]  # type: ignore[attr-defined]


OPTIONS = [
    {},
    {"class_weights": "balanced"},
    {"label_smoothing": 0.2},
    {"class_weights": "balanced", "label_smoothing": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_head_takes_the_steps_that_keras_takes(options: dict[str, object]) -> None:
    task = opened(**options)
    expected, _ = by_keras(task, epochs=3)
    before = weights_of(task.learned(task.head(STILL)))
    found = weights_of(task.learn(STILL))
    assert max(np.abs(new - old).max() for new, old in zip(found, before, strict=True)) > 0.01
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_averages_follow_the_weights() -> None:
    task = opened(average=0.9)
    last, expected = by_keras(task, epochs=3)
    found = weights_of(task.learn(STILL))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert np.abs(found[0] - last[0]).max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"average": 0.9}, {"patience": 2, "epochs": 30}], ids=str)
def test_the_history_tells_of_the_network_that_is_kept(options: dict[str, object]) -> None:
    task = opened(**options)
    learned = task.learn(DROPPING)
    row = min(learned.history, key=lambda row: row["validation_loss"]) if "patience" in options else learned.history[-1]
    answers = learned.network.predict(task.validation.features.astype(np.float32), verbose=0)
    labels = task.validation.labels
    assert row["validation_loss"] == pytest.approx(-np.log(answers[np.arange(len(labels)), labels]).mean(), abs=1e-4)
    assert row["validation_accuracy"] == pytest.approx((answers.argmax(axis=1) == labels).mean(), abs=1e-6)


def test_patience_ends_where_nothing_gets_better() -> None:
    history = opened(patience=3, epochs=60).learn(Tuned(learning_rate=1e-2, dropout=0.0, decay=0.0)).history
    losses = [row["validation_loss"] for row in history]
    assert len(losses) < 60
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert losses == [
        row["validation_loss"]
        for row in opened(epochs=60)
        .learn(Tuned(learning_rate=1e-2, dropout=0.0, decay=0.0), TrainingOptions(epochs=len(losses)))
        .history
    ]


def test_options_that_are_off_change_nothing() -> None:
    plain = opened().learn(DROPPING)
    off = opened(patience=None, class_weights="none", label_smoothing=0, average=0).learn(DROPPING)
    assert plain.history == off.history


def test_a_batch_of_one_and_one_of_all_rows_learn() -> None:
    for size in (1, TRAIN, 10 * TRAIN):
        history = opened(batch_size=size).learn(DROPPING, TrainingOptions(epochs=30)).history
        assert history[-1]["train_loss"] < history[0]["train_loss"]
        assert history[-1]["learning_rate"] == pytest.approx(1e-3 / (1 + 0.001 * 30 * -(-TRAIN // min(size, TRAIN))))


def test_classes_count_alike_when_balanced() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 6 + [1] * 3 + [2], np.int32)
    factors = np.asarray(make_fold(np.zeros((10, 4), np.float16), labels, 3, balanced=True).factors)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)[labels]
    np.testing.assert_allclose(factors, expected, rtol=1e-6)


def test_dropout_leaves_the_share_that_it_should_and_other_ones_each_epoch() -> None:
    head = opened().head(DROPPING)
    first, second = (head._dropout(epoch, (50, 8)) for epoch in (1, 2))
    assert first.shape == (50, 8, 256)
    assert first.mean() == pytest.approx(1 - DROPPING.dropout, abs=4 * np.sqrt(0.24 / first.size))
    assert (first == second).mean() == pytest.approx(0.6**2 + 0.4**2, abs=0.01)
    assert opened().head(STILL)._dropout(1, (2, 8)).all()


def test_dropout_changes_no_answer_on_average() -> None:
    weights, inputs = opened().head(STILL).kept, np.random.default_rng(0).normal(size=(1, WIDTH)).astype(np.float32)
    kept = opened().head(DROPPING)._dropout(1, (2000, 8)).reshape(-1, 256)
    answers = np.asarray(_logits(weights, np.repeat(inputs, len(kept), axis=0), kept, DROPPING.dropout))
    error = answers.std(axis=0) / np.sqrt(len(answers))
    assert (np.abs(answers.mean(axis=0) - np.asarray(_logits(weights, inputs))[0]) < 4 * error).all()


def test_dropout_changes_what_is_learned_but_not_how_it_is_judged() -> None:
    task = opened()
    still, dropping = task.learn(STILL).history, task.learn(STILL.model_copy(update={"dropout": 0.4})).history
    assert still[-1]["train_loss"] < dropping[-1]["train_loss"]


def test_the_same_seed_learns_the_same_and_another_one_something_else() -> None:
    task = opened()
    one, two = task.learn(DROPPING), task.learn(DROPPING)
    assert one.history == two.history
    for weight, other in zip(weights_of(one), weights_of(two), strict=True):
        np.testing.assert_array_equal(weight, other)
    assert dataclasses.replace(task, seed=6).learn(DROPPING).history != one.history


def poison(head: Head) -> None:
    head.train = head.train._replace(features=head.train.features * np.float16("nan"))


def test_a_loss_that_is_no_number_ends_training_and_leaves_the_last_good_weights() -> None:
    head = opened().head(DROPPING)
    train_head(head, epochs=2)
    good = head.kept
    poison(head)
    with pytest.raises(DivergedError, match=r"^smears: the loss is not finite in epoch 3; lower learning_"):
        train_head(head, epochs=4, what="smears")
    assert head.kept is good
    assert len(head.history) == 2


def test_the_error_of_a_task_holds_what_was_kept() -> None:
    task = dataclasses.replace(opened(), mean=np.full(WIDTH, np.nan, np.float32))
    with pytest.raises(DivergedError, match="in epoch 1") as caught:
        task.learn(DROPPING)
    assert isinstance(caught.value.kept, Learned)
    assert caught.value.kept.history == []
    assert np.isfinite(weights_of(caught.value.kept)[0]).all()


def test_what_follows_an_epoch_may_end_training() -> None:
    def on_epoch(row: EpochRow) -> None:
        if row["epoch"] == 2:
            raise StopIteration("pruned")

    with pytest.raises(StopIteration, match="pruned"):
        opened().learn(DROPPING, TrainingOptions(on_epoch=on_epoch))


SEARCH = """
import sys
from pathlib import Path
from lamina.data.rows import Folders
from lamina.tasks.runs import TransferRun
from lamina.tuning.search import TuneConfig
from lamina.stages.tune import tune
run = TransferRun.model_validate({run})
config = TuneConfig(trials=2, epochs=2, learning_rate=(1e-4, 1e-2), dropout=(0, 0.5), decay=(1e-4, 1e-2))
print(tune("head", run, config, Folders(), Path({out!r}), Path({out!r}), seed=1))
assert "tensorflow" not in sys.modules, "tuning a head imported TensorFlow"
"""


def test_tuning_a_head_needs_no_tensorflow(tmp_path: Path) -> None:
    text = SEARCH.format(run=run(learning_rate="tune").model_dump(), out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "best of 2 trials" in done.stdout


def saved(folder: Path, name: str = "head") -> HeadCache:
    return HeadCache(name=name, folder=folder)


@pytest.mark.parametrize("options", [{}, {"average": 0.9}, {"patience": 3}, {"patience": 3, "average": 0.9}])
def test_a_longer_run_goes_on_where_a_shorter_one_ended(options: dict[str, object], tmp_path: Path) -> None:
    whole, told = opened(**options).learn(DROPPING, TrainingOptions(epochs=7)), []
    opened(**options).learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path, "shorter")))
    more = TrainingOptions(epochs=7, head_cache=saved(tmp_path, "longer"), on_epoch=told.append)
    learned = opened(**options).learn(DROPPING, more)
    assert learned.history == told == whole.history
    for one, other in zip(weights_of(learned), weights_of(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name.partition("@")[0] for path in tmp_path.iterdir()) == ["longer", "shorter"]


def test_the_epochs_of_a_shorter_run_are_not_learned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened().learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path, "shorter")))
    calls, whole = [], Head.train_epoch
    monkeypatch.setattr(Head, "train_epoch", lambda head, what="train": calls.append(1) or whole(head, what))
    opened().learn(DROPPING, TrainingOptions(epochs=5, head_cache=saved(tmp_path)))
    assert len(calls) == 2
    assert capsys.readouterr().err.splitlines()[0] == ("head: the first 3 of 5 epochs are those of shorter: taken over")
    opened().learn(DROPPING, TrainingOptions(epochs=5, head_cache=saved(tmp_path)))
    assert len(calls) == 2 + 2, "as many epochs are taken from the shorter run, not from itself"


@pytest.mark.parametrize(
    ("options", "tuned", "seed"),
    [({"batch_size": 9}, DROPPING, 5), ({"label_smoothing": 0.1}, DROPPING, 5), ({}, STILL, 5), ({}, DROPPING, 6)],
)
def test_another_run_is_not_taken_over(options: dict[str, object], tuned: Tuned, seed: int, tmp_path: Path) -> None:
    opened().learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path, "shorter")))
    task = dataclasses.replace(opened(**options), seed=seed)
    learned = task.learn(tuned, TrainingOptions(epochs=4, head_cache=saved(tmp_path)))
    assert learned.history == task.learn(tuned, TrainingOptions(epochs=4)).history
    assert len({path.name.partition("@")[2] for path in tmp_path.iterdir()}) == 2


def test_a_head_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    def interrupt(row: EpochRow) -> None:
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened().learn(DROPPING, TrainingOptions(epochs=7, head_cache=saved(tmp_path), on_epoch=interrupt))
    state = HeadCache(name="head", folder=tmp_path).find(opened()._key(DROPPING), 7)
    assert state is not None
    assert len(state.history) == 4
    resumed = opened().learn(DROPPING, TrainingOptions(epochs=7, head_cache=saved(tmp_path)))
    assert resumed.history == opened().learn(DROPPING, TrainingOptions(epochs=7)).history


def test_a_broken_state_is_of_no_use_and_no_harm(tmp_path: Path) -> None:
    opened().learn(DROPPING, TrainingOptions(epochs=3, head_cache=saved(tmp_path)))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    learned = opened().learn(DROPPING, TrainingOptions(epochs=4, head_cache=saved(tmp_path)))
    assert learned.history == opened().learn(DROPPING, TrainingOptions(epochs=4)).history
    assert len(list(tmp_path.iterdir())) == 1
