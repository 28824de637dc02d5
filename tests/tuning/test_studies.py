"""Studies that several workers share in a database, and what happens when one of them, or the server, goes away."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from checkout import ROOT
from lamina.errors import UserError
from lamina.tuning.studies import SHARED, _storage, place_of, resume
from searching import IDENTITY, RANGES, Hill, searched

TRIALS = 8
OPENS, GUESS = "opens", "guess"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED, raising=False)


@dataclass
class Server:
    """A PostgreSQL of the test's own, on 127.0.0.1, with a user `worker` whose password is `opens`."""

    folder: Path
    port: int
    user: str | None
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, *, secret: str = OPENS, database: str = "postgres", port: int | None = None) -> str:
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


def binary(name: str) -> str:
    found = shutil.which(name) or next(iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None:
        pytest.skip(f"no {name} on the PATH or under /usr/lib/postgresql: PostgreSQL is not installed")
    return str(found)


def wait_for(condition: Callable[[], bool], *processes: "subprocess.Popen[str]", seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def installed() -> Iterator[Server]:
    initdb = binary("initdb")
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in names), None)
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no other user")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # not in tmp_path, which other users cannot read
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "password").write_text(OPENS)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        command = [initdb, "-D", "data", "-U", "worker", "--auth=scram-sha-256", "--pwfile=password", "--no-sync"]
        subprocess.run(command, cwd=folder, user=user, check=True, capture_output=True)
        yield Server(folder, port, user)


@pytest.fixture
def server(installed: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    installed.start()
    monkeypatch.setenv(SHARED, installed.url())
    yield installed
    installed.stop()


Worker = Callable[..., "subprocess.Popen[str]"]


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


def go(folder: Path, workers: int) -> None:
    wait_for(lambda: len(list(folder.glob("ready-*"))) == workers)
    (folder / "go").touch()


def begun(folder: Path, number: int) -> list[list[float]]:
    path = folder / f"begun-{number}.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def states(name: str) -> list[str]:
    place = place_of(name, "tests", IDENTITY, Path())
    import optuna

    with _storage(place) as storage:
        return [trial.state.name for trial in optuna.load_study(study_name=place.study, storage=storage).trials]


def test_a_worker_takes_over_from_one_that_is_killed(server: Server, worker: Worker, tmp_path: Path) -> None:
    workers = [worker("killed", number, pause=0.05) for number in range(2)]
    go(tmp_path, 2)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 3 and len(begun(tmp_path, 1)) >= 1, *workers)
    workers[0].kill()
    workers[0].communicate()
    last = begun(tmp_path, 0)[-1]
    error = workers[1].communicate(timeout=300)[1]
    assert workers[1].returncode == 0, error
    trials = pd.read_csv(tmp_path / "trials-1.csv")
    assert trials["number"].tolist() == list(range(TRIALS))
    assert not trials.duplicated(["learning_rate", "dropout"]).any()
    assert last in trials[["learning_rate", "dropout"]].to_numpy().tolist(), "run again with the same numbers"
    kept = begun(tmp_path, 0)[:-1]
    assert all(numbers in trials[["learning_rate", "dropout"]].to_numpy().tolist() for numbers in kept)
    found = states("killed")
    assert sum(state in ("COMPLETE", "PRUNED") for state in found) == TRIALS
    assert set(found) <= {"COMPLETE", "PRUNED", "FAIL"}


def test_workers_end_with_the_same_trials(server: Server, worker: Worker, tmp_path: Path) -> None:
    workers = [worker("both", number) for number in range(2)]
    go(tmp_path, 2)
    for process in workers:
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 0, error
    assert all(begun(tmp_path, number) for number in range(2))
    assert (tmp_path / "trials-0.csv").read_bytes() == (tmp_path / "trials-1.csv").read_bytes()
    assert len(begun(tmp_path, 0)) + len(begun(tmp_path, 1)) == TRIALS


def test_a_trial_whose_worker_died_before_its_first_heartbeat_is_given_up(server: Server, tmp_path: Path) -> None:
    import optuna

    place = place_of("mute", "tests", IDENTITY, tmp_path)
    resume(place)
    with _storage(place) as storage, pytest.warns(UserWarning, match="Heartbeat"):
        optuna.load_study(study_name=place.study, storage=storage).ask()
    _, trials = searched(tmp_path, 3, Hill(), name="mute")
    assert len(trials) == 3
    assert states("mute").count("FAIL") == 1


def test_a_worker_that_slept_too_long_continues(server: Server, worker: Worker, tmp_path: Path) -> None:
    sleeper = worker("sleeper", 0, trials=4, pause=0.1)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 1, sleeper)
    time.sleep(0.5)
    sleeper.send_signal(signal.SIGSTOP)
    try:
        _, trials = searched(tmp_path, 4, Hill(), name="sleeper")
    finally:
        sleeper.send_signal(signal.SIGCONT)
    error = sleeper.communicate(timeout=300)[1]
    assert sleeper.returncode == 0, error
    assert len(trials) == 4
    assert begun(tmp_path, 0)[0] in trials[["learning_rate", "dropout"]].to_numpy().tolist()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "trials-0.csv"), trials)


def test_a_search_waits_for_a_server_that_comes_back(server: Server, worker: Worker, tmp_path: Path) -> None:
    process = worker("back", 0, trials=4, pause=0.05)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 2, process)
    server.stop()
    time.sleep(1)
    server.start()
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0, error
    assert len(pd.read_csv(tmp_path / "trials-0.csv")) == 4
    assert "Traceback" not in error


def test_a_server_that_stays_away_is_reported_in_one_line(server: Server, worker: Worker, tmp_path: Path) -> None:
    process = worker("away", 0, trials=4, pause=0.05)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 2, process)
    server.stop()
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 2, error
    assert error.count("\n") == 1
    assert error.startswith(
        f"error: postgresql+psycopg://worker:***@127.0.0.1:{server.port}/postgres: the study cannot"
    )
    assert "finished trials are kept; run again when the server answers" in error
    assert not (tmp_path / "trials-0.csv").exists()
    server.start()
    assert states("away").count("COMPLETE") >= 1


def test_workers_with_other_settings_are_refused_and_both_studies_named(
    server: Server, worker: Worker, tmp_path: Path
) -> None:
    process = worker("stranger", 0, trials=2, pause=0.3)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 1, process)
    other = {"tune": {**RANGES, "dropout": [0.0, 0.3]}, "data": "abc"}
    with pytest.raises(UserError) as caught:
        searched(tmp_path, 2, Hill(), name="stranger", identity=other)
    process.communicate(timeout=300)
    message = str(caught.value)
    assert place_of("stranger", "tests", IDENTITY, tmp_path).study in message
    assert place_of("stranger", "tests", other, tmp_path).study in message
    assert "tune.dropout is [0.0, 0.7] there, [0.0, 0.3] here" in message
    assert len(searched(tmp_path, 2, Hill(), name="stranger", identity=other)[1]) == 2


def test_a_wrong_address_is_reported_at_once(server: Server, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        cases = {
            server.url(secret=GUESS): r"password authentication failed for user .worker.*PGPASSWORD",
            server.url(database="elsewhere"): r"database .elsewhere. does not exist",
            server.url(port=closed.getsockname()[1]): r"[Cc]onnection refused",
        }
        for address, match in cases.items():
            os.environ[SHARED] = address
            with pytest.raises(UserError, match=match) as caught:
                searched(tmp_path, 2, Hill())
            assert "\n" not in str(caught.value)
            assert GUESS not in str(caught.value)
            assert OPENS not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://me:secret@host/db", r"mysql://me:\*\*\*@host/db: cannot hold shared studies"),
        ("postgresql+psycopg2://me:secret@host/db", r"psycopg2://me:\*\*\*@host/db: cannot hold shared studies"),
        ("postgresql://me:secret@host", r"me:\*\*\*@host: cannot hold shared studies"),
        ("sqlite:///studies.db", "cannot hold shared studies"),
        ("secret host", "not the address of a database"),
        ("postgresql://me:secret@host:port/db", "not the address of a database"),
    ],
)
def test_addresses_of_other_databases_are_refused(address: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED, address)
    with pytest.raises(UserError, match=rf"LAMINA_STUDIES: .*{shown}.*expected postgresql://") as caught:
        place_of("hill", "tests", {}, Path())
    assert "secret" not in str(caught.value)


def test_a_process_killed_while_it_makes_a_study_leaves_none(tmp_path: Path) -> None:
    """A file with some of the tables, or one without its index, could not be used."""
    code = (
        "from lamina.tuning.studies import Place, resume; resume(Place(url='sqlite:///s/a.db', study='a', identity={}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(list(tmp_path.glob("s/.part-*/a.db"))), process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "s" / "a.db").exists()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.db"]


def test_results_do_not_depend_on_where_the_study_is(server: Server, tmp_path: Path) -> None:
    assert place_of("hill", "tests", IDENTITY, tmp_path).identity == IDENTITY
    numbers, trials = searched(tmp_path, 3, Hill(), pruner="none")
    os.environ.pop(SHARED)
    alone_numbers, alone_trials = searched(tmp_path, 3, Hill(), pruner="none")
    assert numbers == alone_numbers
    pd.testing.assert_frame_equal(trials, alone_trials, check_exact=True)
