"""Colorizers trained again: every picture by a network that never saw its origin, resumed where it stopped."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lamina.stages.assess_colors import ColorAssessSummary, assess_run
from lamina.tasks.colorize.assessment import COLUMNS, ColorAssessor, assess_colors, dealt

from lamina.config import validated
from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.maths.color import srgb_to_lab
from lamina.maths.color_scores import score_pictures, squared_errors, summarise
from lamina.maths.crossvalidation import AgainConfig, AssessConfig
from lamina.results.repeats import Training
from lamina.stages import assess_colors as stage
from lamina.tasks.colorize.learning import ColorTask
from lamina.tasks.runs import ColorizeRun, Tuned, read_run

SIDE, PICTURES, PARTS = 16, 72, 2
RUN = {
    "backbone": "small_cnn",
    "weights": "none",
    "watch": "x",
    "preprocess": "native",
    "decoder": "unet",
    "loss": "mse",
}
RUN |= {"encoder": "trainable", "epochs": 3, "batch_size": 8, "learning_rate": 4e-3, "dropout": 0.0, "decay": 0.001}
TUNED = Tuned(learning_rate=4e-3, dropout=0.0, decay=0.001)
SEEDS = {"validation": 0.2, "split_seed": 1, "seed": 5}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 unlabeled pictures, light ones orange, dark ones blue; two of an origin, four where the split joined some."""
    root = tmp_path_factory.mktemp("system")
    random = np.random.default_rng(0)
    light = random.uniform(0, 1, (PICTURES, 2, 2)).repeat(8, axis=1).repeat(8, axis=2)[..., None]
    rgb = light * np.array([255, 160, 60]) + (1 - light) * np.array([20, 40, 120])
    ids = [f"{number:016x}" for number in random.permutation(PICTURES)]
    slides = np.arange(PICTURES) // 2
    manifest = pd.DataFrame({"id": ids, "origin": [f"slide {slide}" for slide in slides], "label": None, "name": ids})
    reach = AugmentConfig(copies=1, rotation=10.0, shift=0.1, flip_horizontal=True, flip_vertical=True, color=0.3)
    plan = draw_plan(manifest, reach, seed=1)
    joined = np.where(slides < 6, slides // 2, slides)
    fold = np.select([joined % 6 == 0, joined % 6 == 1], ["test", "validation"], "train")
    split = manifest.assign(origin=[f"joined {number}" for number in joined], fold=fold, part=np.int8(-1))
    rows = plan[["id", "label", "copy"]].merge(split[["id", "origin", "fold", "part"]], on="id")
    folders = Folders()
    for folder in (folders.lab, folders.augmented, folders.split):
        (root / folder).mkdir(parents=True)
    np.save(root / folders.lab / "pixels.npy", srgb_to_lab(np.rint(rgb).astype(np.uint8)))
    manifest.to_parquet(root / folders.lab / "manifest.parquet")
    plan.to_parquet(root / folders.augmented / "plan.parquet")
    rows[(rows["fold"] == "train") | (rows["copy"] == 0)].to_parquet(root / folders.split / "manifest.parquet")
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


class MeanColor(ColorAssessor):
    """Learns nothing, and answers each picture with the mean color of what it would have learned from."""

    def train(self, task: ColorTask, training: Training, underway: Path) -> pd.DataFrame:
        tables = []
        for fold in ("validation", "test"):
            rows = training.manifest.loc[training.manifest["fold"] == fold, ["id", "origin", "fold"]]
            lab = task.examples(fold).rows.read_lab(np.arange(len(rows)))
            answer = np.broadcast_to(task.mean_color.astype(np.float32), (*lab.shape[:3], 2))
            tables.append(rows.reset_index(drop=True).join(squared_errors(lab, answer, task.mean_color)))
        return pd.concat(tables)


def run_of(**changed: object) -> ColorizeRun:
    _, run = read_run({"colorize": {"runs": {"colors": RUN | changed}}}, "colors")
    assert isinstance(run, ColorizeRun)
    return run


def assessor(
    memo: str | Path, kind: type[ColorAssessor] = ColorAssessor, run: ColorizeRun | None = None
) -> ColorAssessor:
    return kind(name="colors", run=run or run_of(), tuned=TUNED, folders=Folders(), memo=Path(memo))


@pytest.fixture(scope="module")
def assessed(system: Path) -> Path:
    """A folder with what the stage writes, all asked for, and its memo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        out = Path("models/colors").absolute()
        assess_run(assessor(out / "memo"), AgainConfig(repeats=2, folds=PARTS), out, **SEEDS)
    return out


def lab_of(ids: pd.Series) -> np.ndarray:
    places = pd.read_parquet("data/lab/manifest.parquet")["id"]
    pixels = np.load("data/lab/pixels.npy")
    return pixels[pd.Series(np.arange(len(places)), index=places).loc[ids]] / np.float32(100)


def test_every_picture_is_colored_once_beside_its_own_baselines(assessed: Path) -> None:
    answers = pd.read_parquet(assessed / "crossvalidation.parquet")
    assert list(answers.columns) == list(COLUMNS)
    assert list(answers["id"]) == sorted(pd.read_parquet("data/lab/manifest.parquet")["id"])
    grey = (lab_of(answers["id"])[..., 1:] ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(answers["grey_mse"], grey, rtol=1e-4)
    found = json.loads((assessed / "assessment.json").read_text())["crossvalidation"]
    assert {name: found[name] for name in ("n", "origins", "measures", "against")} == summarise(
        answers, answers["origin"], ("mse",)
    )
    assert found["n"] == PICTURES
    assert found["folds"] == [
        {"mse": pytest.approx(rows["mse"].mean()), "n": len(rows)} for _, rows in answers.groupby("fold")
    ]


def test_lightness_tells_colors_that_were_never_seen(assessed: Path) -> None:
    found = json.loads((assessed / "assessment.json").read_text())
    mse, against = found["crossvalidation"]["measures"]["mse"], found["crossvalidation"]["against"]
    assert mse["value"] < 0.6 * mse["mean"] < 0.6 * mse["grey"]
    assert against["mean"]["interval"][1] < 0
    assert found["repeats"]["seeds"] == [6, 7]
    for fold in ("validation", "test"):
        told = found["repeats"][fold]
        assert told["mean"] == pytest.approx(np.mean(told["mse"]))
        assert told["deviation"] == pytest.approx(abs(told["mse"][0] - told["mse"][1]) / np.sqrt(2))
        assert told["deviation"] > 0, "other seeds learn otherwise"


def test_repeats_are_of_the_split_as_it_is(assessed: Path, tmp_path: Path) -> None:
    split = pd.read_parquet("data/split/manifest.parquet")
    repeat = assessor(tmp_path, MeanColor).answers(Training(name="x", seed=6, manifest=split))
    assert list(repeat["id"]) == sorted(split.loc[split["fold"] != "train", "id"])
    trained = split[(split["fold"] == "train") & (split["copy"] == 0)]
    color = lab_of(trained["id"])[..., 1:].mean(axis=(0, 1, 2))
    expected = ((lab_of(repeat["id"])[..., 1:] - color) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(repeat["mean_mse"], expected, rtol=1e-4)


def test_the_mean_color_is_no_better_than_itself_and_of_each_rounds_own_pictures(tmp_path: Path) -> None:
    rounds: list[Training] = []

    class Heard(MeanColor):
        def train(self, task: ColorTask, training: Training, underway: Path) -> pd.DataFrame:
            rounds.append(training)
            return super().train(task, training, underway)

    found, answers = assess_colors(assessor(tmp_path, Heard), AgainConfig(folds=3), **SEEDS)
    assert found["crossvalidation"]["against"]["mean"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert found["crossvalidation"]["against"]["grey"]["interval"][1] < 0
    assert len(rounds) == 3
    origins = pd.read_parquet("data/split/manifest.parquet").set_index("id")["origin"]
    for part, training in enumerate(rounds):
        rows, tested = training.manifest, answers[answers["fold"] == part]
        used = rows[rows["fold"].isin(["train", "validation"])]
        assert not set(tested["origin"]) & set(used["origin"])
        assert (rows["origin"] == rows["id"].map(origins.groupby(level=0).first())).all(), "as the split joined them"
        assert (rows.loc[rows["fold"] == "train", "id"].value_counts() == 2).all(), "with copies, of test pictures too"
        trained = rows.loc[(rows["fold"] == "train") & (rows["copy"] == 0), "id"]
        color = lab_of(trained)[..., 1:].mean(axis=(0, 1, 2))
        expected = ((lab_of(tested["id"])[..., 1:] - color) ** 2).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(tested["mean_mse"], expected, rtol=1e-4)


def test_runs_of_other_seeds_are_tested_on_the_same_parts(tmp_path: Path) -> None:
    one, other = (
        assess_colors(assessor(tmp_path, MeanColor), AgainConfig(folds=3), validation=0.2, split_seed=1, seed=seed)[1]
        for seed in (5, 6)
    )
    pd.testing.assert_frame_equal(one, other)


def test_what_was_interrupted_goes_on_to_the_same_bytes(assessed: Path, tmp_path: Path) -> None:
    epochs: list[int] = []

    class Killed(ColorAssessor):
        """Ends with the second epoch that it begins."""

        def task(self, training: Training) -> ColorTask:
            task = super().task(training)

            def begin(epoch: int) -> object:
                epochs.append(epoch)
                if len(epochs) == 2:
                    raise KeyboardInterrupt
                return task.train

            return dataclasses.replace(task, anew=begin)

    again, memo, whole = AgainConfig(repeats=2, folds=PARTS), tmp_path / "memo", assessed / "memo"
    assert len(list(whole.iterdir())) == 2 + PARTS, "no state of a training is left"
    with pytest.raises(KeyboardInterrupt):
        assess_run(assessor(memo, Killed), again, tmp_path, **SEEDS)
    [state] = memo.iterdir()
    assert state.suffix == ".npz"
    others = [path for path in whole.iterdir() if path.stem != state.stem]
    for path in others:
        shutil.copy2(path, memo)
    assess_run(assessor(memo, Killed), again, tmp_path, **SEEDS)
    assert epochs == [1, 2, 2, 3], "the one that was killed goes on, the others are there"
    assert {path.name for path in memo.iterdir()} == {path.name for path in whole.iterdir()}
    for name in ("assessment.json", "crossvalidation.parquet", f"memo/{state.stem}.parquet"):
        assert (tmp_path / name).read_bytes() == (assessed / name).read_bytes(), name


def test_other_weights_seeds_or_numbers_are_trained_anew(tmp_path: Path) -> None:
    weights = tmp_path / "model.keras"
    run = run_of(weights=str(weights), watch=str(weights))
    memo = tmp_path / "memo"
    one = assessor(memo, MeanColor, run)
    others = {
        "first": (b"one", one, 5),
        "again": (b"one", one, 5),
        "content": (b"other", one, 5),
        "seed": (b"other", one, 6),
        "numbers": (b"other", dataclasses.replace(one, tuned=Tuned(learning_rate=0.1, dropout=0.0, decay=0.0)), 5),
    }
    counts = []
    for content, other, seed in others.values():
        weights.write_bytes(content)
        found, _ = assess_colors(other, AgainConfig(folds=2), validation=0.2, split_seed=1, seed=seed)
        counts.append(len(list(memo.iterdir())))
    assert counts == [2, 2, 4, 6, 8]
    assert found["crossvalidation"]["starts_from_file"]
    assert "tests what the weights have seen" in str(ColorAssessSummary(found=found).doubt)


def test_squared_errors_are_those_of_all_the_measures() -> None:
    random = np.random.default_rng(3)
    true = srgb_to_lab(random.integers(0, 256, (5, 9, 9, 3), np.uint8))
    predicted = random.normal(0, 20, (5, 9, 9, 2)).astype(np.float32)
    expected = score_pictures(true, predicted, [3.5, -8.0])[["mse", "grey_mse", "mean_mse"]]
    pd.testing.assert_frame_equal(squared_errors(true, predicted, [3.5, -8.0]), expected, rtol=1e-5)


def test_classes_are_nothing_to_parts(system: Path, tmp_path: Path) -> None:
    split = pd.read_parquet("data/split/manifest.parquet")
    rare = split.assign(label=np.where(split["origin"] == "joined 9", "rare", "common"))
    (tmp_path / "split").mkdir()
    rare.to_parquet(tmp_path / "split/manifest.parquet")
    parts = [dealt(folders, 4, seed=1) for folders in (Folders(), Folders(split=tmp_path / "split"))]
    pd.testing.assert_frame_equal(*parts)
    assert sorted(parts[0]["part"].unique()) == [0, 1, 2, 3]
    sizes = parts[0].groupby("part").size()
    assert sizes.max() - sizes.min() <= 8, "an origin of four pictures and their copies"


def test_too_few_origins_are_told_with_the_place_that_asks() -> None:
    with pytest.raises(UserError, match=r"^assess\.colorize\.folds: the pictures come from 33 origins: fold 33 of 0"):
        dealt(Folders(), 40, seed=1)


def test_what_is_asked_of_colorizers_stands_apart() -> None:
    told = validated({"repeats": 2, "folds": 5, "control": True}, "assess", AssessConfig)
    assert told.colorize == AgainConfig(repeats=0, folds=0)
    told = validated({"repeats": 2, "colorize": {"folds": 3}}, "assess", AssessConfig)
    assert (told.repeats, told.folds, told.colorize) == (2, 0, AgainConfig(repeats=0, folds=3))
    with pytest.raises(UserError, match=r"assess\.colorize\.folds: expected 0, for no cross-validation, or 2 and more"):
        validated({"colorize": {"folds": 1}}, "assess", AssessConfig)
    with pytest.raises(UserError, match=r"unknown key 'assess\.colorize\.control'"):
        validated({"colorize": {"control": True}}, "assess", AssessConfig)


SECTION = """
seed: 1
split: {test: 0.3, validation: 0.2}
colorize:
  runs:
    colors: {backbone: small_cnn, weights: none, watch: x, preprocess: native, decoder: unet, loss: mse,
             encoder: trainable, epochs: 1, batch_size: 8, learning_rate: 0.1, dropout: 0.1, decay: 0.0}
scratch:
  runs:
    cnn: {network: small_cnn, epochs: 1, batch_size: 8, learning_rate: 0.1, dropout: 0.1, decay: 0.0}
"""


@pytest.mark.parametrize("asked", ["", "assess: {repeats: 3, folds: 5, control: true}\n"])
def test_where_nothing_is_asked_nothing_is_trained_nor_loaded(system: Path, tmp_path: Path, asked: str) -> None:
    (tmp_path / "params.yaml").write_text(SECTION + asked)
    (tmp_path / "models/colors").mkdir(parents=True)
    (tmp_path / "models/colors/tuned.yaml").write_text("learning_rate: 0.1\ndropout: 0.1\ndecay: 0.0\n")
    code = "import sys; sys.argv = ['assess', 'colors']; from lamina.stages.assess_colors import main; main(); "
    code += "sys.exit(3 if {'tensorflow', 'keras'} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "colors: nothing trained again\n"), done.stderr
    told = (tmp_path / "models/colors/assessment.json").read_text()
    assert told == '{\n  "crossvalidation": null,\n  "repeats": null\n}\n'
    answers = pd.read_parquet(tmp_path / "models/colors/crossvalidation.parquet")
    assert (list(answers.columns), len(answers)) == (list(COLUMNS), 0)


def test_a_run_that_names_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text(SECTION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["assess", "cnn"])
    with pytest.raises(UserError, match=r"cnn is a run of kind scratch; `python -m lamina\.stages\.assess cnn`"):
        stage.main()


def test_it_says_what_it_found(assessed: Path) -> None:
    found = json.loads((assessed / "assessment.json").read_text())
    told = str(ColorAssessSummary(found=found))
    mse = found["crossvalidation"]["measures"]["mse"]
    assert told.startswith(f"trained again, 2 with other seeds: test MSE {found['repeats']['test']['mean']:.1f} +- ")
    assert f"; 2-fold: MSE {mse['value']:.1f} (" in told
    assert ColorAssessSummary(found=found).doubt is None
    found["repeats"]["test"]["deviation"] = None
    assert "+-" not in str(ColorAssessSummary(found=found))
