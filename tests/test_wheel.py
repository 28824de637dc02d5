"""A system made by an installed wheel, outside any checkout: new, repro, clone, pull, and the same numbers.

The wheel is built and installed without the network. Its environment takes all other packages from those of the tests,
but not the checkout.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

import lamina
from checkout import ROOT
from projects import change_params, stages_run

PLACE = "Fotos de células ç"
SYSTEM = "system ü"
SMALL = {
    "convert": {"size": 16},
    "augment": {"copies": 1},
    "features": {},
    "runs": {
        "tiny": {
            "task": "classify", "input": "pixels", "weights": "weights/random", "network": "small_cnn", "epochs": 1,
            "batch_size": 16, "learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001,
        }
    },
    "assess": {"repeats": 0, "folds": 0, "control": False},
}  # fmt: skip


class Installed:
    """An environment with lamina installed from its wheel."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder, with_pip=False)
        self.bin = folder / "bin"
        purelib = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
        self.call(folder, sys.executable, "-m", "pip", "--python", str(self.bin / "python"), *install)
        # paths in a .pth file join sys.path, but .pth files in them are not read: the editable checkout stays out
        others = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
        (purelib / "others.pth").write_text("".join(f"{path}\n" for path in others))

    def call(self, cwd: Path, *command: str, expect: int = 0) -> str:
        """Run a command in a folder; return what it printed."""
        done = subprocess.run(command, cwd=cwd, env=self._environment(), capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert done.returncode == expect, f"{' '.join(command)}: {done.returncode}\n{output}"
        return output

    def dvc(self, cwd: Path, *arguments: str) -> str:
        return self.call(cwd, str(self.bin / "python"), "-m", "dvc", *arguments)

    def git(self, cwd: Path, *arguments: str) -> str:
        return self.call(cwd, "git", *arguments)

    def commit(self, cwd: Path, message: str) -> None:
        self.git(cwd, "add", "-A")
        self.git(cwd, "commit", "-qm", message)

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "PYTHONPATH")}
        return kept | {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("environment"), wheel)


def draw(folder: Path) -> None:
    """Draw 20 reddish and 20 bluish noisy pictures, a folder each."""
    generator = np.random.default_rng(7)
    for number in range(40):
        name, tint = ("blue", (-60, 0, 60)) if number % 2 else ("red", (60, 0, -60))
        pixels = np.clip(generator.integers(80, 176, (24, 24, 3)) + tint, 0, 255).astype(np.uint8)
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")


def shrink(system: Path) -> None:
    """Make a system small enough for a test."""
    change_params(system, SMALL, replace=("features", "runs", "assess"))


def check_portable(system: Path, *foreign: Path) -> None:
    """No link, and no absolute path, in what is committed."""
    written = [path for path in system.rglob("*") if ".dvc" not in path.relative_to(system).parts]
    assert not [path for path in written if path.is_symlink()]
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", ".gitignore"):
        text = (system / name).read_text(encoding="utf-8")
        for path in (system, ROOT, Path(sys.prefix), *foreign):
            assert str(path) not in text, f"{name} names {path}"


def metrics(system: Path) -> dict[str, bytes]:
    found = {path.parent.name: path.read_bytes() for path in system.glob("models/*/metrics.json")}
    assert set(found) == set(SMALL["runs"])
    return found


def locations(value: Any) -> list[str]:
    """Every `path` in a dvc.lock."""
    if isinstance(value, list):
        return [path for item in value for path in locations(item)]
    if isinstance(value, dict):
        own = [value["path"]] if isinstance(value.get("path"), str) else []
        return own + [path for item in value.values() for path in locations(item)]
    return []


# ---- the wheel


def test_the_wheel_has_pipelines_and_templates(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    assert archive.read("lamina/dvc.yaml") == (ROOT / "dvc.yaml").read_bytes()
    names = {Path(name).name for name in archive.namelist() if name.startswith("lamina/")}
    assert {"dvc.yaml", "params_template.yaml", "text_params_template.yaml", "py.typed", "slurm.jinja"} <= names
    if (ROOT / "texts.dvc.yaml").exists():
        assert "texts.dvc.yaml" in names


def test_the_environment_does_not_see_the_checkout(installed: Installed, tmp_path: Path) -> None:
    code = "import lamina, sys, json; print(json.dumps([lamina.__file__, *sys.path]))"
    package, *paths = json.loads(installed.call(tmp_path, "python", "-c", code))
    assert Path(package).is_relative_to(installed.bin.parent)
    assert not [path for path in paths if path and Path(path).is_relative_to(ROOT / "src")]


# ---- new


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with pictures, whose name has spaces and letters that are not ASCII."""
    folder = tmp_path / PLACE
    draw(folder / "pictures")
    return folder


def test_new_writes_a_portable_system_in_git(installed: Installed, place: Path) -> None:
    installed.git(place, "init", "-q")
    output = installed.call(place, "lamina", "new", SYSTEM, "--from", "pictures")
    assert "found 40 pictures, labeled by folder: blue (20), red (20)" in output
    assert "note:" not in output
    assert output.splitlines()[-1] == f"cd '{SYSTEM}' && dvc repro"
    system = place / SYSTEM
    assert not (system / "dvc.yaml").is_symlink()
    assert f"# Written by lamina {lamina.__version__}" in (system / "dvc.yaml").read_text().splitlines()[:3]
    assert YAML(typ="safe").load(system / "params.yaml")["source"]["location"] == "../pictures"
    assert (place / ".dvc" / "config").is_file()
    (system / "dvc.lock").touch()
    check_portable(system, installed.bin.parent)
    assert "/mlflow/" in (place / ".gitignore").read_text().split()


def test_new_without_git_notes_a_source_that_is_outside(installed: Installed, place: Path) -> None:
    output = installed.call(place, "lamina", "new", SYSTEM, "--from", "pictures")
    assert output.count("note: source.location is outside this repository") == 1
    assert f"made a DVC repository in {SYSTEM} (without git)" in output
    assert (place / SYSTEM / ".dvc").is_dir()


def test_a_system_of_a_newer_lamina_is_refused(installed: Installed, place: Path) -> None:
    installed.call(place, "lamina", "new", SYSTEM, "--from", "pictures")
    path = place / SYSTEM / "dvc.yaml"
    path.write_text(f"# Written by lamina 99.0.0\n{path.read_text()}")
    output = installed.call(place / SYSTEM, "python", "-m", "lamina.stages.watch", expect=2)
    assert output.count("\n") == 1
    assert "lamina 99.0.0" in output
    assert "pip install --upgrade lamina" in output


# ---- repro, clone, pull, move


@pytest.fixture(scope="module")
def repository(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with a system whose results are computed, committed and pushed to `store` next to it."""
    place = tmp_path_factory.mktemp("git") / PLACE
    draw(place / "pictures")
    installed.git(place, "init", "-q")
    installed.call(place, "lamina", "new", SYSTEM, "--from", "pictures")
    shrink(place / SYSTEM)
    installed.commit(place, "system")
    installed.dvc(place / SYSTEM, "repro")
    installed.commit(place, "results")
    installed.dvc(place, "remote", "add", "--default", "store", "--local", str(place.parent / "store"))
    installed.dvc(place, "push")
    return place


@pytest.mark.nightly
def test_what_is_committed_is_portable(installed: Installed, repository: Path) -> None:
    system = repository / SYSTEM
    check_portable(system, installed.bin.parent)
    assert not [path for path in locations(YAML(typ="safe").load(system / "dvc.lock")) if Path(path).is_absolute()]
    assert installed.git(repository, "status", "--porcelain") == ""
    listed = installed.git(repository, "ls-files").split()
    assert not [name for name in listed if "mlflow" in name or name.endswith((".keras", ".npy", ".parquet"))]


@pytest.mark.nightly
def test_a_clone_gets_the_results_and_has_nothing_to_run(
    installed: Installed, repository: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "another place é" / "clone"
    installed.git(tmp_path, "clone", "-q", str(repository), str(clone))
    installed.dvc(clone, "remote", "add", "--default", "store", "--local", str(repository.parent / "store"))
    installed.dvc(clone / SYSTEM, "pull")
    assert metrics(clone / SYSTEM) == metrics(repository / SYSTEM)
    assert stages_run(installed.dvc(clone / SYSTEM, "repro")) == {"watch"}
    assert installed.git(clone, "status", "--porcelain") == ""


@pytest.mark.nightly
def test_a_system_without_git_computes_the_same_and_can_be_moved(
    installed: Installed, repository: Path, tmp_path: Path
) -> None:
    place = tmp_path / PLACE
    system = place / SYSTEM
    draw(system / "pictures")
    output = installed.call(place, "lamina", "new", SYSTEM, "--from", f"{SYSTEM}/pictures")
    assert "note:" not in output
    shrink(system)
    assert "convert" in stages_run(installed.dvc(system, "repro", "split"))  # training without git: test_train.py
    check_portable(system, installed.bin.parent)
    for name in ("data/lab/pixels.npy", "data/split/manifest.parquet"):
        assert (system / name).read_bytes() == (repository / SYSTEM / name).read_bytes()
    moved = shutil.move(place, tmp_path / "moved") / SYSTEM
    assert stages_run(installed.dvc(moved, "repro", "split")) == {"watch"}
