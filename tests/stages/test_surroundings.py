"""What surrounds a stage decides nothing: home, temporary folder, locale, time zone, order of sets, rights; limits."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lamina.data.sources.smear import pictures
from lamina.files import file_digest
from projects import environment

PACKAGE = Path(__file__).parents[2] / "src"
STAGES = """
from lamina.stages import entry, watch, download, filter
entry.run(lambda: [stage.main() for stage in (watch, download, filter)])
"""
PARAMS = """
seed: 13
source: {kind: folder, location: pictures, labels: folder}
filter: {drop_grayscale: false, min_side: 1, drop_duplicates: true}
convert: {size: 32, isolate: none}
features: {}
runs: {}
"""
CLASSES = {"EOSINOPHIL": "eosinófilo", "LYMPHOCYTE": "linfócito", "MONOCYTE": "monócito", "NEUTROPHIL": "neutrófilo"}
NOBODY = 65534


@pytest.fixture
def system() -> Iterator[Path]:
    """A system whose source is a folder of pictures; a user without rights can get there."""
    folder = Path(tempfile.mkdtemp(prefix="lamina-test-"))
    folder.chmod(0o755)
    system = folder / "cells"
    for picture in pictures(13, 12):
        path = system / "pictures" / CLASSES[picture.labels[0]] / Path(picture.name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.encoded)
    (system / "params.yaml").write_text(PARAMS)
    yield system
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
    shutil.rmtree(folder)


def run(system: Path, before: Callable[[], None] | None = None, *, user: int | None = None, **variables: str) -> str:
    """Run the stages; return what they print on stderr, after their exit code."""
    given = environment(PACKAGE) | variables
    done = subprocess.run(
        [sys.executable, "-c", STAGES],
        cwd=system,
        env={name: value for name, value in given.items() if value},
        capture_output=True,
        text=True,
        encoding="utf-8",
        preexec_fn=before,
        user=user,
    )
    return f"{done.returncode} {done.stderr}"


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}


def test_home_temporary_folder_locale_and_time_zone_decide_nothing(system: Path) -> None:
    assert run(system) == "0 "
    before = digests(system / "data")
    assert len(before) > 10
    shutil.rmtree(system / "data")
    shutil.rmtree(system / ".lamina")
    others = {"HOME": "", "TMPDIR": "/nowhere", "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    assert run(system, **others) == "0 "
    assert digests(system / "data") == before


def test_a_source_that_can_only_be_read_is_enough_for_a_user_without_rights(system: Path) -> None:
    source = system / "pictures"
    before = digests(source)
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(source)], check=True)
    user = None
    if os.geteuid() == 0:
        os.chown(system, NOBODY, NOBODY)
        user = NOBODY
        if subprocess.run([sys.executable, "-c", "import lamina"], user=user, env=environment(PACKAGE)).returncode:
            pytest.skip("the packages can be read by root alone")
    assert run(system, user=user) == "0 "
    assert digests(source) == before


def test_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(system: Path) -> None:
    """Stands for a full disk, which only root can make."""
    said = run(system, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert said.startswith("2 error: ")
    assert "File too large" in said
    assert said.count("\n") == 1
    assert not (system / "data" / "raw").exists()
    assert not list(system.rglob(".part-*"))
