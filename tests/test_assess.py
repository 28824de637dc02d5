"""Training again: what is asked for, on whole origins, resumed where it stopped, and nothing else."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lamina.tasks.classify.assessment import ClassAssessor, assess

from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.maths.color import srgb_to_lab
from lamina.maths.crossvalidation import AssessConfig
from lamina.maths.scores import score
from lamina.maths.splits import SplitConfig
from lamina.stages.assess import AssessSummary, assess_run
from lamina.stages.split import split
from lamina.tasks.runs import Tuned, read_run

SIDE, PICTURES, PARTS = 16, 72, 3
TUNED = Tuned(learning_rate=3e-3, dropout=0.1, decay=0.0)
RUN = {"epochs": 12, "batch_size": 8, "learning_rate": 3e-3, "dropout": 0.1, "decay": 0.0}
PARAMS = {
    "transfer": {
        "runs": {
            "head": RUN
            | {"backbone": "mobilenet_v2", "weights": "none", "watch": "x", "pooling": "avg", "preprocess": "native"}
        }
    },
    "scratch": {"runs": {"cnn": RUN | {"network": "small_cnn", "epochs": 1}}},
}
ALL = AssessConfig(repeats=2, folds=PARTS, control=True)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages up to extract leave: 72 pictures of 36 origins, and features that tell the class plainly."""
    root = tmp_path_factory.mktemp("assess")
    random = np.random.default_rng(0)
    ids = [f"{number:016x}" for number in range(PICTURES)]
    labels = ["dark", "light", "plain"] * (PICTURES // 3)
    manifest = pd.DataFrame({"id": ids, "label": labels, "name": ids})
    manifest["origin"] = [f"slide {number // 6}-{number % 3}" for number in range(PICTURES)]
    rgb = random.integers(0, 256, (PICTURES, SIDE, SIDE, 3), np.uint8)
    lab, augmented = root / "data/lab", root / "data/augmented"
    for folder in (lab, augmented):
        folder.mkdir(parents=True)
    np.save(lab / "pixels.npy", srgb_to_lab(rgb))
    manifest.to_parquet(lab / "manifest.parquet")
    plan = AugmentConfig(copies=1, rotation=5.0, shift=0.0, flip_horizontal=True, flip_vertical=True, color=0.0)
    draw_plan(manifest, plan, seed=1).to_parquet(augmented / "plan.parquet")
    shares = SplitConfig(test=0.3, validation=0.2, merge_near_duplicates=False)
    split(shares, lab, augmented, root / "data/split", seed=1, parts=PARTS)
    rows = pd.read_parquet(root / "data/split/manifest.parquet")
    features = np.eye(3)[pd.Categorical(rows["label"]).codes] * 2
    features = np.concatenate([features, np.zeros((len(rows), 5))], axis=1) + random.normal(0, 0.4, (len(rows), 8))
    (root / "data/features/head").mkdir(parents=True)
    np.save(root / "data/features/head/features.npy", features.astype(np.float16))
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def assessor(name: str = "head", memo: str = "memo") -> ClassAssessor:
    return ClassAssessor(name=name, run=read_run(PARAMS, name)[1], tuned=TUNED, folders=Folders(), memo=Path(memo))


def test_the_split_holds_the_copies_that_cross_validation_needs() -> None:
    rows = pd.read_parquet("data/split/manifest.parquet")
    assert len(rows) == 2 * PICTURES
    assert (rows["copy"] > 0)[rows["fold"] == "spare"].all()
    assert (rows["copy"] == 0)[rows["fold"].isin(["validation", "test"])].all()
    assert (rows.groupby("origin")["part"].nunique() == 1).all()


def test_all_of_it_on_what_can_be_learned(tmp_path: Path) -> None:
    summary = assess_run(assessor(), ALL, tmp_path, validation=0.2, seed=1)
    found, answers = summary.found, pd.read_parquet(tmp_path / "crossvalidation.parquet")
    split_rows = pd.read_parquet("data/split/manifest.parquet").query("copy == 0").set_index("id").sort_index()
    assert list(answers["id"]) == list(split_rows.index), "each picture once"
    assert (answers["fold"].to_numpy() == split_rows["part"].to_numpy()).all()
    assert (answers["label"].to_numpy() == split_rows["label"].to_numpy()).all()
    classes = ["dark", "light", "plain"]
    assert np.allclose(answers[classes].sum(axis=1), 1, atol=1e-5)
    crossed = found["crossvalidation"]
    expected = score(answers["label"], answers["predicted"], answers["origin"], classes)
    assert {name: crossed[name] for name in expected} == expected
    assert [fold["n"] for fold in crossed["folds"]] == list(answers.groupby("fold").size())
    assert sum(sum(row.values()) for row in crossed["confusion"].values()) == PICTURES
    assert crossed["accuracy"] > 0.85
    assert found["repeats"]["seeds"] == [2, 3]
    assert len(found["repeats"]["test"]["accuracies"]) == 2
    assert found["repeats"]["test"]["mean"] > 0.85
    assert found["control"]["passed"]
    assert found["control"]["accuracy"] < 0.75
    assert summary.alarm is None
    assert "3-fold: accuracy" in str(summary)


def test_the_same_again_is_the_same_bytes_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AssessConfig(repeats=1, folds=PARTS)
    assess_run(assessor(memo="first"), config, tmp_path / "one", validation=0.2, seed=1)
    assess_run(assessor(memo="second"), config, tmp_path / "other", validation=0.2, seed=1)
    sorted(Path("second").iterdir())[0].unlink()  # as after a kill: that training is done again, the others are there
    there = {path: path.stat().st_mtime_ns for path in Path("second").iterdir()}
    assess_run(assessor(memo="second"), config, tmp_path / "resumed", validation=0.2, seed=1)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert len(list(Path("second").iterdir())) == len(there) + 1
    for name in ("assessment.json", "crossvalidation.parquet"):
        written = [(tmp_path / run / name).read_bytes() for run in ("one", "other", "resumed")]
        assert written[0] == written[1] == written[2], name


def test_other_numbers_seeds_or_labels_are_trained_anew() -> None:
    config = AssessConfig(repeats=1)
    for one, seed in (
        (assessor(memo="keys"), 1),
        (assessor(memo="keys"), 2),
        (dataclasses.replace(assessor(memo="keys"), tuned=Tuned(learning_rate=1e-3, dropout=0.1, decay=0.0)), 1),
    ):
        before = len(list(Path("keys").glob("*")))
        assess(one, config, validation=0.2, seed=seed)
        assert len(list(Path("keys").glob("*"))) == before + 1


def test_whole_networks_are_assessed_from_pictures(tmp_path: Path) -> None:
    found = assess_run(assessor("cnn"), AssessConfig(folds=PARTS), tmp_path, validation=0.2, seed=1).found
    assert found["crossvalidation"]["n"] == PICTURES
    assert found["repeats"] is found["control"] is None


def test_test_pictures_in_training_are_noticed(tmp_path: Path) -> None:
    # features that know a picture's origin, and test pictures of origins that train: a leak
    rows = pd.read_parquet("data/split/manifest.parquet")
    codes = pd.Categorical(rows["origin"]).codes
    spoilt = Folders(split=tmp_path / "split", features=tmp_path / "features")
    for folder in (spoilt.split, spoilt.features / "head"):
        folder.mkdir(parents=True)
    np.save(spoilt.features / "head" / "features.npy", np.eye(codes.max() + 1)[codes].astype(np.float16))
    number = rows.groupby(["origin", "copy"]).cumcount()
    leaky = rows.assign(fold=np.where(rows["copy"] > 0, "train", np.where(number % 2, "validation", "test")))
    leaky.to_parquet(spoilt.split / "manifest.parquet")
    run = read_run({"transfer": {"runs": {"head": PARAMS["transfer"]["runs"]["head"] | {"epochs": 60}}}}, "head")[1]
    one = dataclasses.replace(assessor(memo="leak"), folders=spoilt, run=run)
    summary = assess_run(one, AssessConfig(control=True), tmp_path, validation=0.2, seed=1)
    assert not summary.found["control"]["passed"]
    assert summary.alarm is not None
    assert "no score of this run can be trusted" in summary.alarm


def test_a_split_of_other_parts_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"manifest.parquet: has not the 5 parts of assess.folds; run `dvc repro split`"
    ):
        assess(assessor(), AssessConfig(folds=5), validation=0.2, seed=1)


@pytest.mark.parametrize("section", ["", "assess: {repeats: 0, folds: 0, control: false}\n"])
def test_where_nothing_is_asked_nothing_is_trained_nor_loaded(system: Path, tmp_path: Path, section: str) -> None:
    run = (
        "{backbone: mobilenet_v2, weights: none, watch: x, pooling: avg, preprocess: native, epochs: 1, batch_size: 8, "
    )
    run += "learning_rate: 0.1, dropout: 0.1, decay: 0.0}"
    params = f"seed: 1\nsplit: {{test: 0.3, validation: 0.2}}\ntransfer: {{runs: {{head: {run}}}}}\n{section}"
    (tmp_path / "params.yaml").write_text(params)
    (tmp_path / "data").symlink_to(system / "data")
    (tmp_path / "models/head").mkdir(parents=True)
    (tmp_path / "models/head/tuned.yaml").write_text("learning_rate: 0.1\ndropout: 0.1\ndecay: 0.0\n")
    code = "import sys; sys.argv = ['assess', 'head']; from lamina.stages.assess import main; main(); "
    code += "sys.exit(3 if {'tensorflow', 'keras'} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "head: nothing trained again\n"), done.stderr
    told = (tmp_path / "models/head/assessment.json").read_text()
    assert told == '{\n  "control": null,\n  "crossvalidation": null,\n  "repeats": null\n}\n'
    assert len(pd.read_parquet(tmp_path / "models/head/crossvalidation.parquet")) == 0


def test_one_repeat_has_no_deviation() -> None:
    found, _ = assess(assessor(), AssessConfig(repeats=1), validation=0.2, seed=1)
    assert found["repeats"]["test"]["deviation"] is None
    assert "+-" not in str(AssessSummary(found=found))
