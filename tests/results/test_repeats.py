"""Runs trained again: with other seeds, on other folds and with shuffled labels, whatever their task."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.inputs.index import read_split
from lamina.maths.color_scores import squared_errors
from lamina.maths.crossvalidation import AgainConfig
from lamina.maths.scores import score
from lamina.results.assessment import Assessment
from lamina.results.repeats import Retrainer, assess, crossvalidation_rows, repeat
from lamina.tasks.colorize.learning import ColorLearner
from lamina.tasks.columns import probability
from lamina.training.learner import Learned, Learner, Setup, TrainingOptions
from lamina.training.settings import GradientNumbers, Hyperparameters
from systems import (
    COLORS,
    HEAD,
    LIGHT,
    NETWORK,
    retrainer_of,
    stage_of,
    write_features,
    write_origins_of_blots,
    write_origins_with_classes,
)

PICTURES, PARTS = 72, 3
CLASSES = ["dark", "light", "plain"]
LEARNING = HEAD | {"epochs": 12, "learning_rate": 3e-3, "dropout": 0.1, "decay": 0.0}
SEEDS = {"validation": 0.2, "split_seed": 1}
SEED = 5  # of the run


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_origins_with_classes(tmp_path_factory.mktemp("labeled"), PARTS)


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_origins_of_blots(tmp_path_factory.mktemp("unlabeled"))


@pytest.fixture
def classes(labeled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(labeled)


@pytest.fixture
def colors(unlabeled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(unlabeled)


def assessed(cache: Path, settings: Mapping[str, Any] = LEARNING, **asked: Any) -> tuple[Assessment, pd.DataFrame]:
    return assess(retrainer_of(stage_of(settings, seed=SEED), cache), AgainConfig(**asked), **SEEDS)


# ---- classifiers


@pytest.mark.usefixtures("classes")
def test_the_split_holds_the_copies_that_cross_validation_needs() -> None:
    rows = read_split(Folders())
    assert len(rows) == 2 * PICTURES
    assert (rows["copy"] > 0)[rows["fold"] == "spare"].all()
    assert (rows["copy"] == 0)[rows["fold"].isin(["validation", "test"])].all()
    assert (rows.groupby("origin")["part"].nunique() == 1).all()


@pytest.mark.usefixtures("classes")
def test_a_classifier_is_assessed_in_every_way(tmp_path: Path) -> None:
    found, judged = assessed(tmp_path, repeats=2, folds=PARTS, control=True)
    originals = read_split(Folders()).query("copy == 0").set_index("id").sort_index()
    assert list(judged["id"]) == list(originals.index), "every picture once"
    assert (judged["fold"].to_numpy() == originals["part"].to_numpy()).all()
    assert (judged["label"].to_numpy() == originals["label"].to_numpy()).all()
    assert np.allclose(judged[[*map(probability, CLASSES)]].sum(axis=1), 1, atol=1e-5)
    assert found.crossvalidation
    assert found.repeats
    assert found.control
    crossed = found.crossvalidation
    assert crossed.scores == score(judged["label"], judged["predicted"], judged["origin"], CLASSES)
    assert [fold.n for fold in crossed.folds] == list(judged.groupby("fold").size())
    right = judged["label"] == judged["predicted"]
    assert [fold.value for fold in crossed.folds] == pytest.approx(list(right.groupby(judged["fold"]).mean()))
    assert crossed.scores["accuracy"] > 0.85
    assert not crossed.starts_from_file
    assert found.repeats.seeds == [6, 7]
    assert len(found.repeats.test.values) == 2
    assert found.repeats.test.mean > 0.85
    assert found.control.passed
    assert found.control.accuracy < 0.75
    assert found.control.n == (originals["fold"] == "test").sum()
    assert not found.is_empty


@pytest.mark.usefixtures("classes")
def test_a_network_is_assessed_from_pixels(tmp_path: Path) -> None:
    found, _ = assessed(tmp_path, NETWORK | {"epochs": 1}, folds=PARTS)
    assert found.crossvalidation
    assert found.crossvalidation.scores["n"] == PICTURES
    assert found.repeats is found.control is None


@pytest.mark.usefixtures("classes")
def test_other_numbers_and_seeds_are_trained_again(tmp_path: Path) -> None:
    one = retrainer_of(stage_of(LEARNING | {"epochs": 2}), tmp_path)
    slower = dataclasses.replace(one, numbers=GradientNumbers(learning_rate=1e-3, dropout=0.1, decay=0.0))
    longer = retrainer_of(stage_of(LEARNING | {"epochs": 3}), tmp_path)
    edited = dataclasses.replace(one, code="an edit")
    counts = []
    other = dataclasses.replace(one, setup=dataclasses.replace(one.setup, seed=2))
    for retrainer in (one, one, other, slower, longer, edited):
        assess(retrainer, AgainConfig(repeats=1), validation=0.2, split_seed=1)
        counts.append(len(list(tmp_path.iterdir())))
    assert counts == [1, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("classes")
def test_test_pictures_in_training_are_noticed(tmp_path: Path) -> None:
    """Features that identify the origin, and test pictures of origins that train: a leak."""
    rows = read_split(Folders())
    codes = pd.Categorical(rows["origin"]).codes
    write_features(tmp_path, "small", np.eye(codes.max() + 1)[codes])
    leaky = Folders(split=tmp_path / "split", features=tmp_path / "data/features")
    number = rows.groupby(["origin", "copy"]).cumcount()
    leaky.split.mkdir()
    fold = np.where(rows["copy"] > 0, "train", np.where(number % 2, "validation", "test"))
    rows.assign(fold=fold).to_parquet(leaky.split / "manifest.parquet")
    stage = dataclasses.replace(stage_of(LEARNING | {"epochs": 60}, seed=SEED), folders=leaky)
    found, _ = assess(retrainer_of(stage, tmp_path / "cache"), AgainConfig(control=True), **SEEDS)
    assert found.control
    assert not found.control.passed
    assert found.control.p < 0.001
    assert found.control.interval[0] < found.control.chance < found.control.interval[1] < found.control.accuracy


@pytest.mark.usefixtures("classes")
def test_a_split_of_other_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.parquet: not split into 5 folds; run `dvc repro split`"):
        assessed(tmp_path, folds=5)


@pytest.mark.usefixtures("classes")
def test_one_repeat_has_no_deviation(tmp_path: Path) -> None:
    found, judged = assessed(tmp_path, repeats=1)
    assert found.repeats
    assert found.repeats.test.deviation is None
    assert (list(judged.columns), len(judged)) == (["id", "origin", "fold"], 0)


# ---- runs without labels


@dataclass(frozen=True, kw_only=True)
class MeanColor(ColorLearner):
    """Learns nothing, and predicts the mean color of its training pictures. rounds: receives what is learned from."""

    rounds: list[tuple[str, Setup]]

    def learn_again(self, numbers: Hyperparameters, options: TrainingOptions) -> Learned:
        self.rounds.append((options.what, self))
        return Learned(history=[], make=lambda: None, predict=lambda examples: np.zeros(0))

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        rows = self.rows(fold)
        lab = rows.read_lab(np.arange(len(rows)))
        predicted = np.broadcast_to(self.mean_color.astype(np.float32), (*lab.shape[:3], 2))
        return squared_errors(lab, predicted, self.mean_color)


def mean_colors(
    cache: Path, rounds: list[tuple[str, Setup]], settings: Mapping[str, Any] = COLORS, seed: int = SEED
) -> Retrainer:
    """Return a retrainer of `MeanColor`; rounds: receives the names and setups of the trainings."""

    def open_learner(setup: Setup) -> Learner:
        return MeanColor(**vars(ColorLearner.opened(setup)), rounds=rounds)

    return retrainer_of(stage_of(settings, seed=seed), cache, open_learner=open_learner)


def lab_of(ids: pd.Series) -> np.ndarray:
    places = pd.read_parquet("data/lab/manifest.parquet")["id"]
    pixels = np.load("data/lab/pixels.npy")
    return pixels[pd.Series(np.arange(len(places)), index=places).loc[ids]] / np.float32(100)


def mean_color(ids: pd.Series) -> np.ndarray:
    return np.asarray(lab_of(ids)[..., 1:].mean(axis=(0, 1, 2)))


@pytest.mark.nightly
@pytest.mark.usefixtures("colors")
def test_a_colorizer_is_assessed_on_pictures_that_it_never_saw(tmp_path: Path) -> None:
    settings = COLORS | {"epochs": 3, "learning_rate": 4e-3}
    found, judged = assessed(tmp_path, settings, repeats=2, folds=2, control=True)
    assert list(judged.columns) == ["id", "origin", "fold", "mse", "grey_mse", "mean_mse"]
    assert list(judged["id"]) == sorted(pd.read_parquet("data/lab/manifest.parquet")["id"])
    grey = (lab_of(judged["id"])[..., 1:] ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(judged["grey_mse"], grey, rtol=1e-4)
    assert found.control is None, "there are no labels to shuffle"
    assert found.crossvalidation
    assert found.repeats
    scores = found.crossvalidation.scores
    assert (scores["n"], scores["mse"]) == (PICTURES, pytest.approx(judged["mse"].mean()))
    mse = scores["measures"]["mse"]
    assert mse["value"] < 0.6 * mse["mean"] < 0.6 * mse["grey"]
    assert scores["against"]["mean"]["interval"][1] < 0
    expected = [(rows["mse"].mean(), len(rows)) for _, rows in judged.groupby("fold")]
    assert [(fold.value, fold.n) for fold in found.crossvalidation.folds] == [
        (pytest.approx(value), n) for value, n in expected
    ]
    assert found.repeats.seeds == [6, 7]
    for spread in (found.repeats.validation, found.repeats.test):
        assert spread.mean == pytest.approx(np.mean(spread.values))
        assert spread.deviation == pytest.approx(abs(spread.values[0] - spread.values[1]) / np.sqrt(2))
        assert spread.deviation > 0, "other seeds train other networks"


@pytest.mark.nightly
@pytest.mark.usefixtures("colors")
def test_runs_that_learn_lightness_are_assessed_too(tmp_path: Path) -> None:
    found, judged = assessed(tmp_path, LIGHT | {"epochs": 1}, repeats=1, folds=2)
    assert list(judged.columns) == ["id", "origin", "fold", "mse", "mean_mse"]
    assert found.crossvalidation
    assert found.repeats
    assert found.crossvalidation.scores["mse"] == pytest.approx(judged["mse"].mean())
    assert found.repeats.test.values[0] > 0


@pytest.mark.usefixtures("colors")
def test_repeats_use_the_split_as_it_is(tmp_path: Path) -> None:
    split = read_split(Folders())
    retrainer = mean_colors(tmp_path, [])
    judged = retrainer.judged("x", dataclasses.replace(retrainer.setup, seed=6))
    assert list(judged["id"]) == sorted(split.loc[split["fold"] != "train", "id"])
    color = mean_color(split.loc[(split["fold"] == "train") & (split["copy"] == 0), "id"])
    expected = ((lab_of(judged["id"])[..., 1:] - color) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(judged["mean_mse"], expected, rtol=1e-4)


@pytest.mark.usefixtures("colors")
def test_a_round_that_cannot_be_learned_is_named(tmp_path: Path) -> None:
    def open_learner(setup: Setup) -> Learner:
        raise UserError("targets: no example of the fold train has the label 'rare'")

    retrainer = retrainer_of(stage_of(COLORS, seed=SEED), tmp_path, open_learner=open_learner)
    with pytest.raises(UserError, match=r"^run, fold 2 of 3: targets: no example of the fold train"):
        retrainer.judged("fold 2 of 3", retrainer.setup)


@pytest.mark.usefixtures("colors")
def test_each_round_learns_from_its_own_pictures(tmp_path: Path) -> None:
    rounds: list[tuple[str, Setup]] = []
    found, judged = assess(mean_colors(tmp_path, rounds), AgainConfig(folds=3), **SEEDS)
    assert found.crossvalidation
    against = found.crossvalidation.scores["against"]
    assert against["mean"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert against["grey"]["interval"][1] < 0
    assert [what for what, _ in rounds] == [f"run: fold {number} of 3" for number in (1, 2, 3)]
    origins = read_split(Folders()).set_index("id")["origin"]
    for part, (_, setup) in enumerate(rounds):
        rows, tested = setup.manifest, judged[judged["fold"] == part]
        used = rows[rows["fold"].isin(["train", "validation"])]
        assert not set(tested["origin"]) & set(used["origin"])
        assert (rows["origin"] == rows["id"].map(origins.groupby(level=0).first())).all(), "as the split merged them"
        assert (rows.loc[rows["fold"] == "train", "id"].value_counts() == 2).all(), "with copies, of test pictures, too"
        color = mean_color(rows.loc[(rows["fold"] == "train") & (rows["copy"] == 0), "id"])
        expected = ((lab_of(tested["id"])[..., 1:] - color) ** 2).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(tested["mean_mse"], expected, rtol=1e-4)


@pytest.mark.usefixtures("colors")
def test_runs_of_other_seeds_are_tested_on_the_same_parts(tmp_path: Path) -> None:
    retrainers = (mean_colors(tmp_path, [], seed=seed) for seed in (5, 6))
    one, other = (assess(retrainer, AgainConfig(folds=3), **SEEDS)[1] for retrainer in retrainers)
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.usefixtures("colors")
def test_the_content_of_weights_decides_the_trainings(tmp_path: Path) -> None:
    weights, cache = tmp_path / "model.keras", tmp_path / "cache"
    retrainer = mean_colors(cache, [], COLORS | {"weights": str(weights)})
    counts = []
    for content in (b"one", b"one", b"other"):
        weights.write_bytes(content)
        found, _ = assess(retrainer, AgainConfig(folds=2), **SEEDS)
        counts.append(len(list(cache.iterdir())))
    assert counts == [2, 2, 4]
    assert found.crossvalidation
    assert found.crossvalidation.starts_from_file


@pytest.mark.usefixtures("colors")
def test_parts_without_labels_ignore_classes() -> None:
    split = read_split(Folders())
    rare = split.assign(label=np.where(split["origin"] == "merged 9", "rare", "common"))
    setups = [dataclasses.replace(stage_of(COLORS).setup, manifest=rows) for rows in (split, rare)]
    parts = [crossvalidation_rows(setup, 4, of_split=False, seed=1) for setup in setups]
    pd.testing.assert_frame_equal(*parts)
    assert sorted(parts[0]["part"].unique()) == [0, 1, 2, 3]
    sizes = parts[0].groupby("part").size()
    assert sizes.max() - sizes.min() <= 8, "an origin of four pictures and their copies"


@pytest.mark.usefixtures("colors")
def test_too_few_origins_are_refused() -> None:
    with pytest.raises(UserError, match=r"^assess\.folds: all data come from 33 origins: fold 33 of 0"):
        crossvalidation_rows(stage_of(COLORS).setup, 40, of_split=False, seed=1)


@pytest.mark.usefixtures("colors")
def test_repeats_leave_the_runs_own_seed_out(tmp_path: Path) -> None:
    rounds: list[tuple[str, Setup]] = []
    found = repeat(mean_colors(tmp_path, rounds), 2)
    assert found.seeds == [setup.seed for _, setup in rounds] == [6, 7]
    assert found.test.deviation == 0, "the mean color does not depend on the seed"
