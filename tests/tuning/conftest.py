"""Fixtures of shared studies."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from lamina.tuning.places import SHARED
from sharing import PASSWORD, TRIALS, Journal, Proxy, Server, Shared, Worker, binary, free_port


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED, raising=False)


@pytest.fixture(scope="module")
def installed() -> Iterator[Server]:
    initdb = binary("initdb")
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in names), None)
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no other user")
    # not in tmp_path, which other users cannot read
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        command = [initdb, "-D", "data", "-U", "worker", "--auth=scram-sha-256", "--pwfile=password", "--no-sync"]
        subprocess.run(command, cwd=folder, user=user, check=True, capture_output=True)
        yield Server(folder, free_port(), user)


# a proxy passes on what its database does
@pytest.fixture(params=["postgresql", "journal", pytest.param("grpc", marks=pytest.mark.nightly)])
def shared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    """A place that workers share, named by the environment; by `indirect` parameters only some kinds."""
    there: Shared
    match request.param:
        case "postgresql":
            there = request.getfixturevalue("installed")
        case "journal":
            there = Journal(tmp_path / "studies.log")
        case _:
            there = Proxy(tmp_path, free_port())
    there.start()
    monkeypatch.setenv(SHARED, there.url())
    yield there
    there.stop()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Start a process that searches in the study `name` and leaves its table in `tmp_path`, by its number.

    It begins when there is a file `go`.
    """
    started = []

    def start(name: str, number: int, *, trials: int = TRIALS, pause: float = 0.02) -> "subprocess.Popen[str]":
        command = [sys.executable, str(ROOT / "tests" / "searching.py"), name, str(tmp_path), str(trials)]
        started.append(subprocess.Popen([*command, str(pause), str(number)], stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
