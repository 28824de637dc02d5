"""What surrounds a stage decides nothing: home, temporary folder, locale, time zone, order of sets, rights; limits."""

import ctypes
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.data.sources.smear import pictures
from lamina.files import file_digest
from lamina.stages.watch import list_code
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
split: {test: 0.3, validation: 0.1, test_pattern: null}
features: {}
runs: {}
"""
DROP_CAPABILITY, IGNORE_RIGHTS = 24, 1  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE of Linux


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `watch` keeps of the code, which takes seconds to read."""
    folder = tmp_path_factory.mktemp("code")
    list_code(folder / "code", folder / "code.json", "any")
    return folder / "code.json"


@pytest.fixture
def system(code: Path, tmp_path: Path) -> Path:
    """A system whose source is a folder of pictures, and which knows the code."""
    (tmp_path / ".lamina").mkdir()
    shutil.copy(code, tmp_path / ".lamina")
    for picture in pictures(13, 12):
        path = tmp_path / "pictures" / f"célula {picture.labels[0]}" / Path(picture.name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.encoded)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def obey_rights() -> None:
    """Make root obey the rights of files, as all others do."""
    ctypes.CDLL(None).prctl(DROP_CAPABILITY, IGNORE_RIGHTS, 0, 0, 0)


def run(system: Path, before: Callable[[], None] | None = None, **variables: str) -> str:
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
    )
    return f"{done.returncode} {done.stderr}"


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.nightly
def test_home_temporary_folder_locale_and_time_zone_decide_nothing(system: Path) -> None:
    assert run(system) == "0 "
    before = digests(system / "data")
    assert len(before) > 10
    shutil.rmtree(system / "data")
    shutil.rmtree(system / ".lamina")
    others = {"HOME": "", "TMPDIR": "/nowhere", "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    assert run(system, **others) == "0 "
    assert digests(system / "data") == before


@pytest.mark.skipif(sys.platform != "linux", reason="drops root's rights by a call of Linux")
def test_a_source_that_can_only_be_read_is_enough(system: Path) -> None:
    source = system / "pictures"
    folders, before = [source, *source.iterdir()], digests(source)
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert run(system, obey_rights) == "0 "
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert digests(source) == before


@pytest.mark.skipif(sys.platform != "linux", reason="drops root's rights by a call of Linux")
def test_a_system_that_can_only_be_read_is_one_line(system: Path) -> None:
    system.chmod(0o555)
    try:
        said = run(system, obey_rights)
    finally:
        system.chmod(0o755)
    assert said.startswith("2 error: ")
    assert said.endswith(": Permission denied\n")
    assert said.count("\n") == 1


def test_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(system: Path) -> None:
    """Stands for a full disk, which only root can make."""
    said = run(system, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert said.startswith("2 error: ")
    assert "File too large" in said
    assert said.count("\n") == 1
    assert not (system / "data" / "raw").exists()
    assert not list(system.rglob(".part-*"))
