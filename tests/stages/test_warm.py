"""Stages in workers that a server forks: as if DVC had started them, and nothing is left if a process is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lamina.locks import LOCKS
from lamina.stages import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forking is safe on Linux")

PARAMS = """
seed: 1
source: {kind: smear, pictures: 4000}
filter: {drop_grayscale: false, min_side: 8, drop_duplicates: false}
convert: {size: 32, isolate: none}
split: {test: 0.3, validation: 0.1}
"""
# starts stages as dvc does, each by a shell that waits for it, and writes their exit codes
STARTER = """
import os, subprocess, sys
for stage in sys.argv[1:]:
    environment = os.environ | {"DVC_STAGE": stage}
    code = subprocess.call(["sh", "-c", f"{sys.executable} -m lamina.stages {stage}; exit $?"], env=environment)
    print("ended", stage, code, flush=True)
"""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.py").write_text(STARTER)
    yield tmp_path
    for process in working_in(tmp_path):
        process.kill()


def working_in(system: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or is a zombie, which has no folder
            if process.cwd() == str(system):
                found.append(process)
    return found


class Started:
    """A started `dvc`; it writes to files, since a pipe would also wait for what still ends."""

    def __init__(self, command: list[str], system: Path, environment: dict[str, str]) -> None:
        self._files = [system / name for name in ("out.txt", "err.txt")]
        with self._files[0].open("w") as out, self._files[1].open("w") as err:
            self._process = subprocess.Popen(command, cwd=system, env=environment, stdout=out, stderr=err)
        self.pid, self.kill = self._process.pid, self._process.kill

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        self._process.wait(timeout)
        output, errors = (path.read_text() for path in self._files)
        return output, errors


def start(system: Path, *stages: str, **environment: str) -> Started:
    # in one process: helpers of joblib may end later than what started them
    alone = {"LOKY_MAX_CPU_COUNT": "1"}
    return Started([sys.executable, "dvc.py", *stages], system, os.environ | alone | environment)


def ended(output: str) -> list[str]:
    """The stages that a `dvc` ran, and their exit codes."""
    return [line.removeprefix("ended ") for line in output.splitlines() if line.startswith("ended ")]


def wait_for(what: object, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def worker_of(system: Path, stage: str) -> psutil.Process:
    """Wait until a stage works, and return its process."""
    holder = system / LOCKS / f"{stage}.pid"
    wait_for(lambda: holder.exists() and holder.read_text())
    return psutil.Process(int(holder.read_text()))


def client_of(system: Path, stage: str) -> psutil.Process:
    named = [one for one in working_in(system) if one.cmdline()[1:] == ["-m", "lamina.stages", stage]]
    (client,) = (one for one in named if one.parent() and one.parent().name() == "sh")
    return client


def test_one_server_forks_the_stages_of_a_dvc_and_ends_with_it(system: Path) -> None:
    (system / "params.yaml").write_text(PARAMS.replace("4000", "60"))
    dvc = start(system, "download", "filter", "augment")
    first = worker_of(system, "download")
    server, client = first.parent(), client_of(system, "download")
    assert server.pid != client.pid
    assert server.environ()[warm.TUNABLES] == warm.LARGE_PAGES
    assert client.parent().parent().pid == dvc.pid
    assert worker_of(system, "filter").parent() == server
    output, errors = dvc.communicate()
    assert ended(output) == ["download 0", "filter 0", "augment 2"]
    assert "error: params.yaml: the section augment is missing" in errors, (
        "what a worker writes reaches those who wait for it"
    )
    assert (system / "data/filtered/kept.parquet").exists()
    wait_for(lambda: not working_in(system))


ENDS = """
import atexit, os, sys
from pathlib import Path

class Kept:
    def __del__(self, make=os.mkdir):
        make("taken_apart")

def called():
    print("called at the end")
    Path("called").touch()

def fork_a_child_and_end():
    if os.fork():
        os.wait()
        sys.exit("why it ended")
    del Kept.__del__
    sys.exit(7)

def begin():
    atexit.register(called)
    if stage := sys.modules.get("lamina.stages.filter"):
        stage.main = fork_a_child_and_end

if "lamina.stages.warm" in sys.orig_argv:
    sys.kept = Kept()  # taken apart with the interpreter
    os.register_at_fork(after_in_child=begin)
"""


def test_a_worker_calls_what_libraries_registered_and_takes_nothing_apart(system: Path, tmp_path: Path) -> None:
    (system / "params.yaml").write_text(PARAMS.replace("4000", "60"))
    (tmp_path / "at_end").mkdir()
    (tmp_path / "at_end/sitecustomize.py").write_text(ENDS)
    dvc = start(system, "download", "filter", PYTHONPATH=os.pathsep.join([str(tmp_path / "at_end"), *sys.path]))
    output, errors = dvc.communicate()
    assert ended(output) == ["download 0", "filter 1"], "the exit code is the worker's, not that of a child of it"
    assert errors == "why it ended\n"
    assert (system / "called").exists()
    assert "called at the end" in output
    assert not (system / "taken_apart").exists()


def test_a_switch_lets_stages_run_in_the_processes_that_dvc_started(system: Path) -> None:
    dvc = start(system, "download", LAMINA_WARM="0")
    assert worker_of(system, "download") == client_of(system, "download")
    dvc.kill()
    dvc.communicate()


def test_a_killed_worker_is_an_error_and_the_next_stage_runs(system: Path) -> None:
    dvc = start(system, "download", "filter")
    worker_of(system, "download").kill()
    output, errors = dvc.communicate()
    assert ended(output) == ["download 137", "filter 2"]
    assert "error: the process of this stage was killed; run it again" in errors


@pytest.mark.parametrize("who", ["dvc", "client"])
def test_a_worker_ends_when_nobody_waits_for_it(system: Path, who: str) -> None:
    dvc = start(system, "download")
    worker_of(system, "download")
    (dvc if who == "dvc" else client_of(system, "download")).kill()
    dvc.communicate()
    wait_for(lambda: not working_in(system))
    assert not (system / "data/raw").exists()


def test_a_worker_outlives_the_server_and_a_new_one_comes(system: Path) -> None:
    (system / "params.yaml").write_text(PARAMS.replace("4000", "150"))
    dvc = start(system, "download", "filter")
    server = worker_of(system, "download").parent()
    server.kill()
    assert worker_of(system, "filter").parent() != server
    output, _ = dvc.communicate()
    assert ended(output) == ["download 0", "filter 0"]


def test_ctrl_c_reaches_the_worker(system: Path) -> None:
    dvc = start(system, "download")
    worker_of(system, "download")
    client_of(system, "download").send_signal(signal.SIGINT)
    output, errors = dvc.communicate()
    assert ended(output) == ["download 130"]
    assert "interrupted: no half-written file is left; run again to continue" in errors
    assert not list(system.rglob(".part-*"))


def test_a_request_that_breaks_off_neither_hangs_nor_holds_files() -> None:
    server, client = socket.socketpair(socket.AF_UNIX)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)  # an error, where a copy of the other end is open
    socket.send_fds(client, [warm.NUMBER.pack(1000) + b'{"name": '], [writing] * 3)
    os.close(writing)
    client.close()
    with pytest.raises(EOFError):
        warm._receive(server)
    assert os.read(reading, 1) == b"", "no copy of the client's file is open"
    os.close(reading)
    server.close()


def test_an_unknown_stage_is_named(system: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "lamina.stages", "entri"], cwd=system, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: expected the name of a stage, one of " in done.stderr


IMPORTS = """
from importlib import import_module
from lamina.stages.warm import LIBRARIES
[import_module(name) for name in LIBRARIES["train"] if "mlflow" in name or "tracking" in name]
from mlflow.telemetry import get_telemetry_client
print(get_telemetry_client())
"""


def test_the_server_loads_mlflow_without_its_telemetry(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
    assert not (tmp_path / ".config").exists(), "a folder with an identity of the user"
