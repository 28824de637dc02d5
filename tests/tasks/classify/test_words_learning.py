"""Runs over words: what they learn, the model that they save, and how they are tuned, trained and assessed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lamina.config import check_references, section
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.inputs.index import read_split
from lamina.inputs.word_examples import predict_words
from lamina.inputs.words import read_matrix
from lamina.maths.crossvalidation import AgainConfig
from lamina.models.keras_runtime import keras
from lamina.models.loading import load_model
from lamina.results.record import read_record
from lamina.stages.assess import assess_run
from lamina.stages.evaluate import evaluate
from lamina.stages.train import train
from lamina.stages.tune import TuneConfig, tune
from lamina.stages.words import read_settings
from lamina.tasks.classify.settings import DenseSettings
from lamina.tasks.columns import probability
from lamina.tasks.runs import read_run
from lamina.tasks.words_learner import LinearLearner
from lamina.tasks.words_settings import ClassifierSettings
from lamina.training.callbacks import NoCallbacks
from nightly import by_time
from systems import COLORS, HEAD, LIGHT, NETWORK, TUNE, learner_of, stage_of, train_run
from texts import DENSE, LOGISTIC, NB_SVM, opinions, words_system

RUNS: dict[str, dict[str, Any]] = {"dense": DENSE, "logistic": LOGISTIC, "nb_svm": NB_SVM}
LABELS = {2: ["neg", "pos"], 3: ["$$", "copy", "so\n猫"]}  # a class may have any name
PARTS = 3
PENALTIES = (0.5, 50.0)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of two classes."""
    return words_system(tmp_path_factory.mktemp("two"), opinions(40, LABELS[2]), parts=PARTS)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of three classes with odd names, by tf-idf."""
    return words_system(tmp_path_factory.mktemp("three"), opinions(30, LABELS[3]), values="tfidf")


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def trained(settings: Mapping[str, Any], out: Path) -> pd.DataFrame:
    """Tune, train and evaluate a run; return the predictions."""
    keras.backend.clear_session()  # as in a process of its own: layers are counted from the first again
    stage = stage_of(settings, out)
    tune(stage, section(stage.params, "tune", TuneConfig), studies=out / "studies")
    train(stage, NoCallbacks(), resume=out / "resume", heads=out / "heads")
    evaluate(Folders(), out)
    return pd.read_parquet(out / "predictions.parquet")


# ---- learning


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=pytest.mark.nightly)])
def test_the_saved_model_gives_what_the_learner_judged(
    name: str, classes: int, three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if classes == 3:
        monkeypatch.chdir(three)
    predictions = trained(RUNS[name], tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.8
    learner = learner_of(RUNS[name])
    labels = learner.classes
    assert read_record(tmp_path).classes == labels == LABELS[classes]
    judged = learner.judge(learner.learn(learner.settings.given_numbers()), "test")
    rows = read_split(Folders()).query("fold == 'test'")
    judged = judged.assign(id=rows["id"].to_numpy()).sort_values("id", ignore_index=True)
    assert list(predictions["id"]) == list(judged["id"])
    assert list(predictions["label"]) == list(judged["label"])
    columns = [*map(probability, labels)]
    np.testing.assert_allclose(predictions[columns], judged[columns], atol=1e-6)
    np.testing.assert_allclose(predictions[columns].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_sparse_rows_give_what_dense_rows_give(name: str, tmp_path: Path) -> None:
    train_run(stage_of(RUNS[name] | ({"epochs": 3} if name == "dense" else {}), tmp_path))
    model, matrix = load_model(tmp_path / "model.keras"), read_matrix(Path("data/words/common"))
    assert model.input_shape == (None, matrix.shape[1])
    np.testing.assert_allclose(predict_words(model, matrix), model.predict(matrix.toarray(), verbose=0), atol=1e-6)


@pytest.mark.parametrize("name", by_time(RUNS, ["nb_svm"]))
def test_the_same_input_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    for out in ("one", "two"):
        trained(RUNS[name], tmp_path / out)
    files = ("model.keras", "history.csv", "record.json", "metrics.json", "predictions.parquet", "tuned.yaml")
    for file in (*files, "sheets/words.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


@pytest.mark.parametrize("name", ["logistic", "nb_svm"])
def test_a_linear_run_has_one_epoch_with_the_scores_of_both_folds(name: str, tmp_path: Path) -> None:
    summary = train_run(stage_of(RUNS[name], tmp_path))
    history = pd.read_csv(tmp_path / "history.csv")
    assert len(history) == summary.epochs == 1
    assert set(history.columns) == {
        "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"
    }  # fmt: skip
    validation = evaluate(Folders(), tmp_path).validation
    assert history["validation_accuracy"][0] == pytest.approx(validation.value)
    assert history["validation_loss"][0] == pytest.approx(validation.calibration.log_loss, rel=1e-4)
    assert history["train_accuracy"][0] > 0.95


def test_a_larger_penalty_gives_smaller_coefficients(tmp_path: Path) -> None:
    sizes = []
    for penalty in (0.1, 10.0):
        train_run(stage_of(LOGISTIC | {"penalty": penalty}, tmp_path))
        sizes.append(np.abs(load_model(tmp_path / "model.keras").get_layer("classes").get_weights()[0]).sum())
    assert sizes[0] > 2 * sizes[1] > 0


# ---- tuning


def test_the_penalty_is_tuned_within_its_range(tmp_path: Path) -> None:
    settings = LOGISTIC | {"penalty": "tune"}
    stage = stage_of(settings, tmp_path, tune=TUNE | {"penalty": list(PENALTIES)})
    found = tune(stage, section(stage.params, "tune", TuneConfig), studies=tmp_path / "studies")
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert list(trials.columns) == ["number", "state", "value", "penalty", "epochs"]
    assert found.trials == len(trials) == TUNE["trials"]
    assert trials["penalty"].between(*PENALTIES).all()
    assert trials["penalty"].nunique() == len(trials)
    assert found.tuned == {"penalty": trials["penalty"][trials["value"].idxmax()]}
    train(stage, NoCallbacks(), resume=tmp_path / "resume", heads=tmp_path / "heads")
    assert read_record(tmp_path).numbers == found.tuned


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1.0, 0.1], "expected \\[low, high\\] with low below high"),
        ([0.0, 1.0], "tune.penalty.0: .*greater than 0"),
        ([1.0, 1e7], "tune.penalty.1: .*less than or equal to 1000000"),
    ],
    ids=str,
)
def test_a_wrong_range_of_penalties_is_refused(given: list[float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        section({"tune": TUNE | {"penalty": given}}, "tune", TuneConfig)


# ---- assessment


def test_a_linear_run_is_not_trained_again_with_other_seeds(tmp_path: Path) -> None:
    stage = stage_of(LOGISTIC, tmp_path)
    train_run(stage)
    learner = stage.open_learner()
    assert isinstance(learner, LinearLearner)
    assert not learner.is_random
    assess_run(stage, AgainConfig(repeats=2, folds=PARTS, control=True), validation=0.2, cache=tmp_path / "cache")
    found = json.loads((tmp_path / "assessment.json").read_text())
    assert found["repeats"] is None
    assert found["control"]["passed"]
    assert found["crossvalidation"]["scores"]["accuracy"] > 0.9
    assert len(found["crossvalidation"]["folds"]) == PARTS
    tested = pd.read_parquet(tmp_path / "crossvalidation.parquet")
    assert sorted(tested["id"]) == sorted(read_split(Folders())["id"]), "every text is tested once"
    assert len(list((tmp_path / "cache").iterdir())) == PARTS + 1


def test_a_dense_run_is_trained_again_with_other_seeds(tmp_path: Path) -> None:
    stage = stage_of(DENSE | {"epochs": 3}, tmp_path, seed=5)
    train_run(stage)
    assert stage.open_learner().is_random
    assess_run(stage, AgainConfig(repeats=2), validation=0.2, cache=tmp_path / "cache")
    found = json.loads((tmp_path / "assessment.json").read_text())
    assert found["repeats"]["seeds"] == [6, 7]
    assert found["control"] is None
    one, two = (pd.read_parquet(path) for path in (tmp_path / "cache").iterdir())
    assert one["p:neg"].tolist() != two["p:neg"].tolist()


@pytest.mark.parametrize("name", RUNS)
def test_shuffled_labels_stay_at_chance(name: str, tmp_path: Path) -> None:
    stage = stage_of(RUNS[name] | ({"epochs": 3} if name == "dense" else {}), tmp_path)
    train_run(stage)
    control = assess_run(stage, AgainConfig(control=True), validation=0.2, cache=tmp_path / "cache").found.control
    assert control is not None
    assert control.passed
    low, high = control.interval
    assert low <= control.accuracy <= high
    assert control.chance == pytest.approx(0.5, abs=0.1)


# ---- settings


def refusal(settings: Mapping[str, Any], **sections: Any) -> str:
    """Return the one line with which a run is refused."""
    params = {"runs": {"x": dict(settings)}, "words": {"common": {}}, **sections}

    def read() -> None:
        read_run(params, "x")
        check_references(params)

    with pytest.raises(UserError) as caught:
        read()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_the_network_decides_the_settings() -> None:
    params = {"runs": RUNS}
    kinds = {name: type(read_run(params, name).settings) for name in RUNS}
    assert kinds == {"dense": DenseSettings, "logistic": ClassifierSettings, "nb_svm": ClassifierSettings}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (HEAD | {"network": "dense"}, "unknown key 'runs.x.network'"),
        (NETWORK | {"network": "dense"}, "runs.x.network: unknown network 'dense'; did you mean 'densenet"),
        (
            DENSE | {"network": "small_cnn"},
            "runs.x.network: unknown network 'small_cnn'; available over words: dense, log",
        ),
        (
            LOGISTIC | {"network": "logistic"},
            "unknown network 'logistic'; available over words: dense, logistic_regression, nb_svm",
        ),
        (LOGISTIC | {"epochs": 3}, "unknown key 'runs.x.epochs'"),
        (LOGISTIC | {"penalty": 0}, "runs.x.penalty: expected a number from 0 (excluded) to 1,000,000, or the word"),
        (DENSE | {"penalty": 1.0}, "unknown key 'runs.x.penalty'"),
        (COLORS | {"input": "words/common"}, "runs.x.input: input should be 'pixels', got 'words/common'"),
        (LIGHT | {"input": "words/common"}, "runs.x.input: input should be 'pixels', got 'words/common'"),
        (LOGISTIC | {"input": "words/comon"}, "runs.x.input: no input 'words/comon'; did you mean 'words/common'?"),
        (
            LOGISTIC | {"weights": "models/a/model.keras"},
            "runs.x.weights: input should be 'weights/random', got 'models/a/model.keras'",
        ),
        (
            DENSE | {"weights": "models/a/model.keras"},
            "runs.x.weights: input should be 'weights/random', got 'models/a/model.keras'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_in_one_line(settings: dict[str, Any], words: str) -> None:
    assert words in refusal(settings)


def test_an_unknown_entry_of_words_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"words has no entry 'comon'; did you mean 'common'\?"):
        read_settings({"words": {"common": {}, "bigrams": {}}}, "comon")
