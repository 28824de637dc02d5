"""Where workers share studies: a PostgreSQL server, Optuna's proxy and a file; and what tests ask of the workers."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

from lamina.tuning.places import place_of
from lamina.tuning.storages import open_storage
from nightly import by_time
from searching import IDENTITY

TRIALS = 8
PASSWORD = "opens"  # noqa: S105
PROXY = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""

only_journal = pytest.mark.parametrize("shared", ["journal"], indirect=True)
only_database = pytest.mark.parametrize("shared", ["postgresql"], indirect=True)
only_proxy = pytest.mark.parametrize("shared", ["grpc"], indirect=True)
# by day a file, which needs no server to start
first_journal = pytest.mark.parametrize(
    "shared", by_time(("journal", "postgresql", "grpc"), ("journal",)), indirect=True
)
only_servers = pytest.mark.parametrize(
    "shared", ["postgresql", pytest.param("grpc", marks=pytest.mark.nightly)], indirect=True
)


@dataclass
class Server:
    """A PostgreSQL of the test's own, on 127.0.0.1, with a user `worker` whose password is `opens`."""

    folder: Path
    port: int
    user: str | None
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, *, secret: str = PASSWORD, database: str = "postgres", port: int | None = None) -> str:
        return f"postgresql://worker:{secret}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        command = [binary("postgres"), "-D", "data", "-c", "listen_addresses=127.0.0.1", "-p", str(self.port)]
        options = ["-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *options], cwd=self.folder, user=self.user, stdout=log, stderr=log
            )
        wait_for(
            lambda: (
                subprocess.run([binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0
            )
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)  # at once, as when its machine goes away
            self.process.wait(30)


@dataclass
class Proxy:
    """Optuna's gRPC proxy of the test's own, over a file in `folder`."""

    folder: Path
    port: int
    database: str = "proxied.db"
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-c", PROXY, f"sqlite:///{self.folder / self.database}", str(self.port)]
        with (self.folder / "proxy.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self.answers)

    def answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)


@dataclass
class Journal:
    """A file."""

    path: Path

    def url(self) -> str:
        return f"journal://{self.path}"

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


Shared: TypeAlias = Server | Proxy | Journal


Worker = Callable[..., "subprocess.Popen[str]"]


def binary(name: str) -> str:
    found = shutil.which(name) or next(iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None:
        pytest.skip(f"no {name} on the PATH or under /usr/lib/postgresql: PostgreSQL is not installed")
    return str(found)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(condition: Callable[[], bool], *processes: "subprocess.Popen[str]", seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)


def go(folder: Path, workers: int) -> None:
    wait_for(lambda: len(list(folder.glob("ready-*"))) == workers)
    (folder / "go").touch()


def begun(folder: Path, number: int) -> list[list[float]]:
    path = folder / f"begun-{number}.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def states(name: str) -> list[str]:
    place = place_of(name, "tests", IDENTITY, Path())
    import optuna

    with open_storage(place) as storage:
        return [trial.state.name for trial in optuna.load_study(study_name=place.study, storage=storage).trials]
