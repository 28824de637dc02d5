"""The lists of modules: what a stage imports, and what is in it."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.source_code import PACKAGE, closure
from lamina.stages.modules import list_modules, stages


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, dict[str, str]]:
    """By stage, the digest of every module listed."""
    list_modules(tmp_path / "modules")
    lines = {path.stem: path.read_text().splitlines() for path in (tmp_path / "modules").iterdir()}
    return {stage: {name: digest for digest, name in map(str.split, of_stage)} for stage, of_stage in lines.items()}


def test_every_stage_has_its_list(lists: dict[str, dict[str, str]]) -> None:
    assert sorted(lists) == sorted(stages())
    assert {"download", "train", "report"} < set(lists)


def test_a_list_tells_what_is_in_the_modules(lists: dict[str, dict[str, str]]) -> None:
    for name, digest in lists["train"].items():
        assert hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest() == digest


def test_a_stage_imports_nothing_that_its_list_does_not_name() -> None:
    asked = "import sys, lamina.stages.train; print(*(m for m in sys.modules if m.startswith('lamina.')))"
    said = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True).stdout
    packages = {"lamina.data", "lamina.learn", "lamina.maths", "lamina.models", "lamina.stages", "lamina.tracking"}
    assert {*said.split()} - packages <= closure("lamina.stages.train")


def test_an_edit_changes_the_lists_of_those_stages_that_import_the_module(tmp_path: Path) -> None:
    package = shutil.copytree(PACKAGE, tmp_path / "src" / "lamina")

    def listed() -> dict[str, str]:
        subprocess.run(
            [sys.executable, "-m", "lamina.stages.modules"],
            cwd=tmp_path, env={"PYTHONPATH": str(package.parent)}, check=True, capture_output=True,
        )  # fmt: skip
        return {path.stem: path.read_text() for path in (tmp_path / "data" / "modules").iterdir()}

    before = listed()
    with (package / "learn" / "heads.py").open("a") as module:
        module.write("# another line\n")
    changed = {stage for stage, text in listed().items() if text != before[stage]}
    assert changed == {stage for stage in stages() if "lamina.training.heads" in closure(f"lamina.stages.{stage}")}
    assert changed == {"assess", "assess_colors", "train", "tune"}
