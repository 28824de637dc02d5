"""No name of params.yaml reaches a shell: DVC would put `${key}` into the command line as it is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from checkout import ROOT
from lamina.errors import UserError
from lamina.source_code import PACKAGE
from lamina.stages import entry
from projects import change_params, environment

NAMES = ("$(touch x)", "a;touch x")


def dvc(system: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC; a stage refuses a name before it loads a library, and needs no process that has loaded them."""
    env = environment(ROOT / "src") | {"LAMINA_WARM": "0"}
    return subprocess.run(["dvc", *arguments], cwd=system, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("pipeline", "sections", "stages"),
    [
        pytest.param(ROOT / "dvc.yaml", ("features", "runs"), ("extract", "evaluate"), id="pictures"),
        pytest.param(PACKAGE / "texts.dvc.yaml", ("words", "runs"), ("words",), id="texts", marks=pytest.mark.nightly),
    ],
)
def test_a_name_is_no_command(
    tmp_path: Path, pipeline: Path, sections: tuple[str, ...], stages: tuple[str, ...]
) -> None:
    shutil.copy(pipeline, tmp_path / "dvc.yaml")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    entries = {name: {"task": "classify", "input": "pixels", "weights": "weights/random"} for name in NAMES}
    change_params(tmp_path, dict.fromkeys(sections, entries), replace=sections)
    assert dvc(tmp_path, "init", "--quiet", "--no-scm").returncode == 0
    done = dvc(tmp_path, "repro")
    assert done.returncode
    assert "params.yaml: " in done.stderr
    assert "expected a name of letters" in done.stderr
    for path in ("data/code/train/classify.txt", "data/pixels/index.json", "weights/random"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    targets = [f"{stage}@{name}" for stage in stages for name in NAMES]
    # each by itself, whatever it depends on
    done = dvc(tmp_path, "repro", "--single-item", "--keep-going", "--force", *targets)
    assert done.returncode
    assert "expected a name of letters" in done.stderr
    assert not [*tmp_path.rglob("x")]


@pytest.mark.parametrize("pipeline", [ROOT / "dvc.yaml", PACKAGE / "texts.dvc.yaml"])
def test_no_command_holds_a_value(pipeline: Path) -> None:
    commands = re.findall("cmd:.*", pipeline.read_text())
    assert commands
    assert not [command for command in commands if not re.fullmatch(r"cmd: python -m lamina\.stages \w+", command)]


def test_a_stage_asks_dvc_which_run_it_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train"])
    for stage in ("train@tiny", "pipelines/a@b/dvc.yaml:train@tiny"):
        monkeypatch.setenv("DVC_STAGE", stage)
        assert entry.run_name() == "tiny"
    monkeypatch.setattr("sys.argv", ["train", "other"])
    assert entry.run_name() == "other"


@pytest.mark.parametrize("stage", ["train@../../x", "train@$(touch x)", "train@", "train@" + "a" * 101])
def test_a_stage_refuses_what_is_no_name(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train"])
    monkeypatch.setenv("DVC_STAGE", stage)
    with pytest.raises(UserError, match=r"name of a run: .*: expected a name of letters"):
        entry.run_name()


def test_a_stage_without_a_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train"])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(UserError, match=r"expected one argument, the name of a run, got \[\]"):
        entry.run_name()
