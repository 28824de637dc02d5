"""Stages as processes: one per system and stage, and no longer than the `dvc` that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lamina.locks import LOCKS

# a stage that names its process and works for a minute
STAGE = """
import os, time
from pathlib import Path
from lamina.stages import entry

def main() -> None:
    with Path("begun").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(60)

entry.run_stage(main)
"""
# a stage that has a temporary file and workers, until it is told to end
WORKERS = """
import os, tempfile, time
from pathlib import Path
from joblib import Parallel, delayed
from lamina.stages import entry

def main() -> None:
    tempfile.mkstemp()
    Parallel(2)(delayed(abs)(number) for number in range(4))
    with Path("begun").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while not Path("end").exists():
        time.sleep(0.02)

entry.run_stage(main)
"""
# starts it as dvc does: by a shell that waits for it
STARTER = """
import subprocess, sys
subprocess.run(["sh", "-c", f"{sys.executable} stage.py lamina.stages; true"])
"""


@pytest.fixture
def system(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.py").write_text(STARTER)
    return tmp_path


def start(system: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    others = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    return subprocess.Popen(command, cwd=system, env=others | environment, stderr=subprocess.PIPE, text=True)


def begun(system: Path, count: int = 1) -> int:
    """Wait until this many stages have begun; return the process of the last one."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if (system / "begun").exists() and len(found := (system / "begun").read_text().split("\n")) > count:
            return int(found[count - 1])
        time.sleep(0.02)
    pytest.fail("the stage did not begin")


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def ends(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.mark.parametrize("by_dvc", [True, False])
def test_a_stage_ends_with_the_dvc_that_started_it_and_with_no_other_parent(system: Path, by_dvc: bool) -> None:
    environment = {"DVC_STAGE": "one"} if by_dvc else {}
    starter = start(system, sys.executable, "dvc.py", **environment)
    stage = begun(system)
    starter.kill()
    starter.wait()
    assert starter.stderr
    starter.stderr.close()
    try:
        assert ends(stage, seconds=10 if by_dvc else 1) == by_dvc
    finally:
        if is_alive(stage):
            psutil.Process(stage).kill()


def test_a_second_instance_waits_until_the_first_was_killed(system: Path) -> None:
    first = start(system, sys.executable, "stage.py", "one")
    begun(system)
    second = start(system, sys.executable, "stage.py", "one")
    other = start(system, sys.executable, "stage.py", "other")
    assert begun(system, 2) == other.pid
    assert (system / LOCKS / "stage@one.pid").read_text() == str(first.pid)
    time.sleep(0.5)
    assert second.poll() is None
    first.kill()
    assert begun(system, 3) == second.pid
    for process in (first, second, other):
        process.kill()
        process.communicate()


def left(system: Path, pid: int) -> list[str]:
    """The names of temporary files of a system, and of what a process has in shared memory."""
    shared = Path("/dev/shm").iterdir() if sys.platform == "linux" else ()  # noqa: S108 - it is only looked at
    return [path.name for path in (system / "tmp").iterdir()] + [
        path.name for path in shared if f"-{pid}-" in path.name
    ]


def test_what_a_killed_stage_left_with_its_workers_is_removed_by_the_next(system: Path) -> None:
    (system / "workers.py").write_text(WORKERS)
    (system / "tmp").mkdir()
    command, folder = (sys.executable, "workers.py", "one"), {"TMPDIR": str(system / "tmp")}
    killed = start(system, *command, **folder)
    begun(system)
    for process in (*psutil.Process(killed.pid).children(recursive=True), psutil.Process(killed.pid)):
        process.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left(system, killed.pid)
    (system / "end").touch()
    again = start(system, *command, **folder)
    assert again.wait(timeout=60) == 0
    again.communicate()
    assert left(system, killed.pid) + left(system, again.pid) == []
