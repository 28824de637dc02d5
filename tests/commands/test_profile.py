"""`lamina profile`: what is refused, what is printed, and DVC that runs what the profile says."""

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Final

import pandas as pd
import pytest

from checkout import ROOT
from lamina.commands import profile
from lamina.commands.checked_params import check_params
from lamina.commands.new import new
from lamina.commands.profile import overview, switch
from lamina.config import read_params
from lamina.errors import UserError
from lamina.files import write_json
from lamina.results.record import read_record
from lamina.stages.folds import split_targets
from lamina.stages.watch import list_code
from projects import call
from texts import opinions, words_system

QUICK: Final = """source: {pictures: 60}
convert: {size: 32}
augment: {copies: 1}
runs:
  frozen: {epochs: 2, learning_rate: 1e-3}
  tiny:
    task: classify
    input: pixels
    network: small_cnn
    weights: weights/random
    epochs: 1
    batch_size: 16
    learning_rate: 1e-3
    dropout: 0
    decay: 0
ensembles:
  both: {runs: [frozen, tiny]}
"""
FULL: Final = """source: {pictures: 600}
convert: {size: 128}
augment: {copies: 4}
runs:
  frozen: {epochs: 40, learning_rate: tune}
"""


def write_profiles(system: Path, **profiles: str) -> Path:
    """Write profiles by name; return the system's folder."""
    (system / "profiles").mkdir(exist_ok=True)
    for name, text in profiles.items():
        (system / "profiles" / f"{name}.yaml").write_text(text)
    return system


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The default system, with the profiles quick and full."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "data.json").write_text("{}")
    return write_profiles(tmp_path, quick=QUICK, full=FULL)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A system of texts, in git, with the profiles quick and full."""
    for name, text in opinions(40).items():
        (tmp_path / "reviews" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "reviews" / name).write_text(text)
    call(tmp_path, "git", "init", "-q")
    new(tmp_path / "system", str(tmp_path / "reviews"))
    quick = """words: {few: {vocabulary: 50}}
runs:
  logistic: {penalty: 1}
  small: {task: classify, input: words/common, network: logistic_regression, penalty: 1}
"""
    return write_profiles(tmp_path / "system", quick=quick, full="runs: {logistic: {penalty: 30}}\n")


def refusal(system: Path, name: str) -> str:
    """The one line with which a profile is refused; nothing is written."""
    before = {path: path.read_bytes() for path in system.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as caught:
        switch(system, name)
    assert {path: path.read_bytes() for path in system.rglob("*") if path.is_file()} == before
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- switching


def test_a_profile_is_applied_printed_and_taken_back(system: Path) -> None:
    before = (system / "params.yaml").read_bytes()
    assert switch(system, "quick") == [
        "ensembles.both: added",
        "runs.tiny: added",
        "source.pictures: 600 -> 60",
        "convert.size: 128 -> 32",
        "augment.copies: 4 -> 1",
        "runs.frozen.epochs: 40 -> 2",
        'runs.frozen.learning_rate: "tune" -> 0.001',
        "params.yaml: has the profile quick; `dvc repro` runs what changed",
    ]
    quick = (system / "params.yaml").read_bytes()
    params = read_params(system)
    check_params(params)
    assert params["runs"]["tiny"]["epochs"] == 1
    assert switch(system, "quick") == ["params.yaml: unchanged, it has the profile quick already"]
    assert {"ensembles.both: removed", "runs.tiny: removed"} < {*switch(system, "full")}
    assert (system / "params.yaml").read_bytes() == before
    switch(system, "quick")
    assert (system / "params.yaml").read_bytes() == quick
    assert not [path for path in system.iterdir() if path.name.startswith(".part-")]


def test_profiles_are_listed_with_the_one_that_params_has(system: Path) -> None:
    assert overview(system) == ["full  (params.yaml has it)", "quick"]
    switch(system, "quick")
    assert overview(system) == ["full", "quick  (params.yaml has it)"]
    (system / "params.yaml").write_text((system / "params.yaml").read_text().replace("pictures: 60", "pictures: 61"))
    assert overview(system) == ["full", "quick", "params.yaml has none of them"]
    shutil.rmtree(system / "profiles")
    (line,) = overview(system)
    assert line.startswith(f"{system / 'profiles'}: no profiles; write NAME.yaml there")


def test_a_system_of_texts_has_profiles_too(texts: Path) -> None:
    before = (texts / "params.yaml").read_bytes()
    assert {"words.few: added", "runs.small: added", "runs.logistic.penalty: 30 -> 1"} < {*switch(texts, "quick")}
    switch(texts, "full")
    assert (texts / "params.yaml").read_bytes() == before
    write_profiles(texts, quick="words: {common: {vocabularies: 5}}")
    assert "words.common.vocabularies'; did you mean 'words.common.vocabulary'?" in refusal(texts, "quick")
    write_profiles(texts, quick="filter: {min_word: 5}", full="{}")
    assert "did you mean 'filter.min_words'?" in refusal(texts, "quick")


# ---- refusals


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("spilt: {test: 0.2}", "unknown section 'spilt'; did you mean 'split'?"),
        ("split: {tset: 0.2}", "unknown key 'split.tset'; did you mean 'split.test'?"),
        ("split: {test: 2}", "split.test: "),
        ("split:", "split: expected a mapping with the keys test, "),
        ("seed: -1", "seed: expected a whole number"),
        ("source: {pictures: few}", "source.pictures: "),
        ("augment: {fresh: {zoon: 1}}", "unknown key 'augment.fresh.zoon'; did you mean 'augment.fresh.zoom'?"),
        ("validate: {drifts: 1}", "did you mean 'validate.drift'?"),
        ("weights: {imagenet: [vgg61]}", "weights.imagenet.0: "),
        ("features: {lite0: {pool: avg}}", "unknown key 'features.lite0.pool'; did you mean"),
        ("runs: {frozen: {epoch: 3}}", "unknown key 'runs.frozen.epoch'; did you mean 'runs.frozen.epochs'?"),
        ("runs: {other: {epochs: 3}}", "runs.other.task is missing; add one of classify"),
        ("runs: {frozen: {input: features/lite1}}", "runs.frozen.input: no input 'features/lite1'; did you mean"),
        ("runs: [frozen]", "runs: expected a mapping of entries by name, {} for none, got"),
        ("ensembles: {both: {runs: [frozen, tuned]}}", "ensembles.both.runs: there is no run 'tuned'; did you mean"),
        ("tune: {trails: 3}", "did you mean 'tune.trials'?"),
        ("assess: {frozn: {folds: 3}}", "assess: unknown key 'frozn'; known: "),
        ("assess: 3", "assess: expected a mapping with the keys repeats, folds, control, got int 3"),
        ("assess: {1: {folds: 3}}", "unknown key 'assess.1'; known: repeats"),
        ("scratch: {}", "scratch is from lamina 0.1; the section is gone"),
        ("", "expected sections (seed, source, "),
        ("# nothing yet\n", "found nothing"),
        ("[seed]", "found list ['seed']"),
        ("seed: 1\nseed: 2\n", 'not valid YAML: line 2: while constructing a mapping, found duplicate key "seed"'),
        ("seed: [1", "not valid YAML: line 1: "),
        ("seed: *no", "not valid YAML: line 1: found undefined alias 'no'"),
    ],
)
def test_a_profile_that_is_wrong_is_refused_with_its_file_and_the_key(system: Path, overlay: str, words: str) -> None:
    write_profiles(system, quick=overlay, full="{}")
    message = refusal(system, "quick")
    assert message.startswith(f"{system / 'profiles' / 'quick.yaml'}: ")
    assert words in message
    assert "params.yaml" not in message.replace(str(system), "")


def test_a_key_that_another_profile_lacks_is_refused_with_both_files(system: Path) -> None:
    write_profiles(system, full=FULL.replace("convert: {size: 128}\n", ""))
    quick, full = (system / "profiles" / f"{name}.yaml" for name in ("quick", "full"))
    for name in ("quick", "full"):
        assert refusal(system, name).startswith(f"convert.size: {quick} sets it, but {full} does not; add it there")


def test_a_mistake_of_params_is_reported_as_such(system: Path) -> None:
    text = (system / "params.yaml").read_text()
    (system / "params.yaml").write_text(text.replace("pruner: median", "pruner: mean"))
    assert refusal(system, "quick").startswith("params.yaml: tune.pruner: ")


def test_an_unknown_profile_is_refused_with_the_nearest(system: Path) -> None:
    file = system / "profiles" / "quik.yaml"
    assert refusal(system, "quik") == f"{file}: there is no profile 'quik'; did you mean 'quick'?; known: full, quick"
    shutil.rmtree(system / "profiles")
    assert refusal(system, "quick").endswith("there is no profile 'quick'; known: none")


def test_a_system_without_params_is_refused(system: Path) -> None:
    (system / "params.yaml").unlink()
    assert refusal(system, "quick").startswith(f"{system / 'params.yaml'}: not found; run in a system's folder")


# ---- DVC


def prepare_run(texts: Path) -> None:
    """Write all that the stage `train@small` reads, as the stages before it do, and give it to DVC and git."""
    (texts / "src").symlink_to(ROOT / "src")
    with (texts / ".gitignore").open("a") as ignored:
        ignored.write("/src\n")
    words_system(texts, opinions(40))
    (texts / "data" / "targets").mkdir()
    split_targets(texts / "data" / "split", texts / "data" / "targets")
    list_code(texts / "data" / "code", texts / ".lamina" / "code.json", "texts")
    write_json(texts / "data" / "validation" / "verdict.json", {})
    (texts / "models" / "small").mkdir(parents=True)
    (texts / "models" / "small" / "tuned.yaml").write_text("penalty: 1\n")
    for name in ("data/published.yaml", "data/source.txt", "models/small/trials.csv"):
        (texts / name).touch()
    switch(texts, "quick")
    call(texts, "dvc", "commit", "--quiet", "--force", "watch", "split", "validate", "words@common", "tune@small")
    switch(texts, "full")
    call(texts, "git", "add", "-A", "..")
    call(texts, "git", "commit", "-qm", "start")


@pytest.mark.nightly
def test_an_experiment_runs_the_runs_of_the_profile(texts: Path) -> None:
    prepare_run(texts)
    call(texts, "lamina", "profile", "quick")
    call(texts, "dvc", "exp", "run", "--name", "quick-one", "--single-item", "train@small")
    assert read_record(texts / "models" / "small").settings["penalty"] == 1
    assert overview(texts) == ["full", "quick  (params.yaml has it)"]
    assert "quick-one" in call(texts, "dvc", "exp", "list", "--name-only")
    switch(texts, "full")
    assert "train@small" not in call(texts, "dvc", "stage", "list", "--name-only")


def test_dvc_repro_reads_the_values_of_the_profile(system: Path) -> None:
    (system / "src").symlink_to(ROOT / "src")
    call(system, "dvc", "init", "-q", "--no-scm")
    write_profiles(system, quick=QUICK.replace("60", "12"))
    switch(system, "quick")
    for name in ("code/download.txt", "source.txt"):  # as if nothing had been watched
        (system / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (system / "data" / name).touch()
    call(system, "dvc", "repro", "--single-item", "download")
    assert sum(len(pd.read_parquet(part, columns=["id"])) for part in system.glob("data/raw/*.parquet")) == 12


def test_the_command_prints_what_it_did(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile.run(Namespace(system=system, name=None)) == 0
    assert capsys.readouterr().out == "full  (params.yaml has it)\nquick\n"
    assert profile.run(Namespace(system=system, name="full")) == 0
    assert capsys.readouterr().out == "params.yaml: unchanged, it has the profile full already\n"
