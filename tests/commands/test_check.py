"""`lamina check`: what is wrong in params.yaml is refused before DVC reads it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from checkout import ROOT
from lamina.commands.check import missing, run
from lamina.errors import UserError


class Arguments:
    def __init__(self, system: Path) -> None:
        self.system = system


def check(system: Path) -> int:
    return run(Arguments(system))  # type: ignore[arg-type]


def changed(folder: Path, old: str, new: str) -> Path:
    """Write the default system's params.yaml with a change to it."""
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    (folder / "params.yaml").write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize("system", [ROOT, *sorted(path.parent for path in ROOT.glob("pipelines/*/params.yaml"))])
def test_the_systems_here_are_valid(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(system) == 0
    assert "valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("workers: 1 ", "workers: 100000 ", r"tune.workers: .*less than or equal to 256, got 100000"),
        ("epochs: 10\n", "epochs: 1e14\n", r"runs.small_cnn.epochs: .*integer, got 100000000000000.0"),
        ("epochs: 10\n", "epochs: 100000000000000\n", r"runs.small_cnn.epochs: .*less than or equal to 100000"),
        ("batch_size: 32", "batch_size: 1000000000", r"batch_size: .*less than or equal to 100000"),
        ("trials: 8", "trials: 1000000000", r"tune.trials: .*less than or equal to 100000"),
        ("  small_cnn:\n", "  $(touch x):\n", r"runs: '\$\(touch x\)': expected a name of letters"),
        ("  small_cnn:\n", "  Frozen:\n", r"runs: frozen and Frozen differ only in upper and lower case"),
        (
            "task: classify ",
            "task: regress\n    target: age ",
            r"frozen: the task regress learns from columns of",
        ),
        (
            "hold_out: null",
            "hold_out: {hospital: B}",
            r"split.hold_out: names a column of source.metadata, which is null",
        ),
        ("stratify: null", "stratify: hospital", r"split.stratify: names a column of source.metadata, which is null"),
        ("hold_out: null", "hold_out: {size: B}", r"split.hold_out.size: DVC's run cache does not see .*'size'"),
        ("ensembles: {} ", "ensembles: {nfiles: {runs: [frozen, small_cnn]}} ", r"ensembles.nfiles: DVC's run cache"),
        ("ensembles: {} ", "ensembles: {FROZEN: {runs: [frozen, small_cnn]}} ", "frozen and FROZEN differ only"),
    ],
)
def test_what_would_run_too_long_or_collide_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(changed(tmp_path, old, new))


def test_files_that_are_not_here_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(tmp_path, "metadata: null", "metadata: cells.csv")
    assert check(tmp_path) == 0
    assert capsys.readouterr().err == "note: source.metadata: cells.csv is not here; `dvc repro` stops without it\n"
    (tmp_path / "cells.csv").touch()
    assert missing({"kind": "folder", "location": "pets", "metadata": "cells.csv"}, tmp_path) == [
        "note: source.location: pets is not here; `dvc repro` stops without it"
    ]
    for elsewhere in ({"kind": "url", "location": "https://x.org/a.zip"}, {"kind": "archive", "location": "a.zip"}):
        assert missing(elsewhere | {"mirrored": {"path": "a.zip"}}, tmp_path) == []


def test_a_pipeline_with_a_fault_of_before_is_refused(tmp_path: Path) -> None:
    changed(tmp_path, "seed", "seed")
    pipeline = (ROOT / "dvc.yaml").read_text()
    (tmp_path / "dvc.yaml").write_text(pipeline)
    assert check(tmp_path) == 0
    old = pipeline.replace("cmd: python -m lamina.stages train", "cmd: python -m lamina.stages train ${key}")
    (tmp_path / "dvc.yaml").write_text(old)
    with pytest.raises(UserError, match=r"dvc.yaml: `cmd: .*train \$\{key\}` hands a name of params.yaml to a shell"):
        check(tmp_path)
    (tmp_path / "dvc.yaml").write_text(pipeline.replace("convert.size", "seed"))
    with pytest.raises(UserError, match=r"dvc.yaml: DVC would not see another convert.size; take the dvc.yaml of this"):
        check(tmp_path)


def bomb(first: str, of_nine: str) -> str:
    """30 entries of which each holds the one before nine times."""
    later = (f"a{n}: &a{n} {of_nine.format(', '.join([f'*a{n - 1}'] * 9))}\n" for n in range(1, 30))
    return "".join([f"a0: &a0 {first}\n", *later])


BOMBS = {"lists": bomb("[x]", "[{}]"), "merged": bomb("{k: 1}", "{{<<: [{}]}}"), "endless": "a: &a [*a, *a]\n"}


@pytest.mark.parametrize("kind", BOMBS)
def test_anchors_that_grow_without_end_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    (tmp_path / "params.yaml").write_text(BOMBS[kind])
    start = time.monotonic()
    with pytest.raises(UserError, match="more than 100,000 values where its anchors"):
        check(tmp_path)
    assert time.monotonic() - start < 1


def test_it_is_a_command_that_ends_with_two_on_a_mistake(tmp_path: Path) -> None:
    system = changed(tmp_path, "workers: 1 ", "workers: 100000 ")
    command = [sys.executable, "-m", "lamina.cli", "check", "--system", str(system)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: params.yaml: tune.workers")
    assert "lamina check\n\tdvc repro" in (ROOT / "Makefile").read_text()
