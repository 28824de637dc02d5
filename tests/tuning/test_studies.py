"""Studies that several workers share, and what happens when one of them, or the server, goes away."""

import json
import os
import pwd
import re
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
from typing import TypeAlias

import pandas as pd
import pytest

from checkout import ROOT
from lamina.errors import UserError
from lamina.tuning.places import SHARED, place_of
from lamina.tuning.storages import open_storage
from lamina.tuning.studies import HEARTBEAT, Signs, resume
from searching import IDENTITY, RANGES, Hill, searched

TRIALS = 8
OPENS, GUESS = "opens", "guess"
PROXY = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


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


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(params=["postgresql", "journal", "grpc"])
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


only_journal = pytest.mark.parametrize("shared", ["journal"], indirect=True)
only_proxy = pytest.mark.parametrize("shared", ["grpc"], indirect=True)
only_servers = pytest.mark.parametrize("shared", ["postgresql", "grpc"], indirect=True)


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
        (folder / "password").write_text(OPENS)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        command = [initdb, "-D", "data", "-U", "worker", "--auth=scram-sha-256", "--pwfile=password", "--no-sync"]
        subprocess.run(command, cwd=folder, user=user, check=True, capture_output=True)
        yield Server(folder, free_port(), user)


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

    with open_storage(place) as storage:
        return [trial.state.name for trial in optuna.load_study(study_name=place.study, storage=storage).trials]


def test_a_worker_takes_over_from_one_that_is_killed(shared: Shared, worker: Worker, tmp_path: Path) -> None:
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


def test_workers_end_with_the_same_trials(shared: Shared, worker: Worker, tmp_path: Path) -> None:
    workers = [worker("both", number) for number in range(2)]
    go(tmp_path, 2)
    for process in workers:
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 0, error
    assert all(begun(tmp_path, number) for number in range(2))
    assert (tmp_path / "trials-0.csv").read_bytes() == (tmp_path / "trials-1.csv").read_bytes()
    assert len(begun(tmp_path, 0)) + len(begun(tmp_path, 1)) == TRIALS


@only_journal
def test_a_trial_whose_worker_died_before_its_first_heartbeat_is_given_up(shared: Shared, tmp_path: Path) -> None:
    import optuna

    place = place_of("mute", "tests", IDENTITY, tmp_path)
    resume(place)
    with open_storage(place) as storage:
        optuna.load_study(study_name=place.study, storage=storage).ask()
    _, trials = searched(tmp_path, 3, Hill(), name="mute")
    assert len(trials) == 3
    assert states("mute").count("FAIL") == 1


def test_a_worker_that_slept_too_long_continues(shared: Shared, worker: Worker, tmp_path: Path) -> None:
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


@only_servers
def test_a_search_waits_for_a_server_that_comes_back(shared: Shared, worker: Worker, tmp_path: Path) -> None:
    process = worker("back", 0, trials=4, pause=0.05)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 2, process)
    shared.stop()
    time.sleep(1)
    shared.start()
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0, error
    assert len(pd.read_csv(tmp_path / "trials-0.csv")) == 4
    assert "Traceback" not in error


@only_servers
def test_a_server_that_stays_away_is_reported_in_one_line(shared: Shared, worker: Worker, tmp_path: Path) -> None:
    process = worker("away", 0, trials=4, pause=0.05)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 2, process)
    shared.stop()
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 2, error
    assert error.count("\n") == 1
    shown = place_of("away", "tests", IDENTITY, tmp_path).shown
    assert error.startswith(f"error: {shown}: the study cannot be reached (")
    assert OPENS not in error
    assert re.search(r"finished trials are kept; run again when the (server|proxy) answers$", error.strip())
    assert not (tmp_path / "trials-0.csv").exists()
    shared.start()
    assert states("away").count("COMPLETE") >= 1


def test_workers_with_other_settings_are_refused_and_both_studies_named(
    shared: Shared, worker: Worker, tmp_path: Path
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


@pytest.mark.parametrize("shared", ["postgresql"], indirect=True)
def test_a_wrong_address_of_a_database_is_reported_at_once(shared: Server, tmp_path: Path) -> None:
    cases = {
        shared.url(secret=GUESS): r"password authentication failed for user .worker.*PGPASSWORD",
        shared.url(database="elsewhere"): r"database .elsewhere. does not exist",
        shared.url(port=free_port()): r"[Cc]onnection refused",
    }
    for address, match in cases.items():
        os.environ[SHARED] = address
        with pytest.raises(UserError, match=match) as caught:
            searched(tmp_path, 2, Hill())
        assert "\n" not in str(caught.value)
        assert GUESS not in str(caught.value)
        assert OPENS not in str(caught.value)


def test_a_proxy_that_does_not_run_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED, f"grpc://127.0.0.1:{free_port()}")
    begin = time.monotonic()
    with pytest.raises(
        UserError, match=r"^grpc://127.*[Cc]onnection refused.*; check the address and the proxy$"
    ) as caught:
        searched(tmp_path, 2, Hill())
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begin < 15


@only_proxy
def test_a_proxy_that_returns_with_another_database_is_reported_in_one_line(
    shared: Proxy, worker: Worker, tmp_path: Path
) -> None:
    process = worker("other", 0, trials=4, pause=0.05)
    go(tmp_path, 1)
    wait_for(lambda: len(begun(tmp_path, 0)) >= 2, process)
    shared.stop()
    shared.database = "another.db"
    shared.start()
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 2, error
    assert re.fullmatch(r"error: grpc://.*the study cannot be reached \(.*\).*\n", error)


@only_journal
def test_a_file_that_is_no_journal_is_refused_and_stays_as_it_is(shared: Journal, tmp_path: Path) -> None:
    for content in (b"a,b\n1,2\n", b'{"a": 1}', b"\x89PNG\r\n\x1a\n\x00"):
        shared.path.write_bytes(content)
        with pytest.raises(UserError, match=r"studies.log: not a journal of studies; name another file"):
            searched(tmp_path, 2, Hill())
        assert shared.path.read_bytes() == content
    shared.path.unlink()
    os.environ[SHARED] = f"journal://{tmp_path}/missing/studies.log"
    with pytest.raises(
        UserError, match=r"missing/studies.log: .*No such file.*; check the path, and that you may write"
    ):
        searched(tmp_path, 2, Hill())
    assert not (tmp_path / "missing").exists()


@only_journal
def test_a_line_that_a_killed_worker_did_not_end_is_removed(shared: Journal, tmp_path: Path) -> None:
    _, before = searched(tmp_path, 3, Hill())
    with shared.path.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"a')
    tried = []
    _, after = searched(tmp_path, 4, Hill(on_begin=tried.append))
    pd.testing.assert_frame_equal(after[:3], before)
    assert len(tried) == 1


@only_journal
def test_a_damaged_line_is_named_and_can_be_deleted(shared: Journal, tmp_path: Path) -> None:
    searched(tmp_path, 2, Hill())
    lines = shared.path.read_bytes().splitlines(keepends=True)
    shared.path.write_bytes(b"".join([*lines[:5], b'{"op_code":6,"wor{"op_code":\n', *lines[5:]]))
    with pytest.raises(UserError, match="line 6 is damaged; delete that line and run again"):
        searched(tmp_path, 3, Hill())
    shared.path.write_bytes(b"".join(lines))
    assert len(searched(tmp_path, 3, Hill())[1]) == 3


@only_journal
def test_a_lock_that_a_killed_worker_left_is_removed(shared: Journal, tmp_path: Path) -> None:
    Path(f"{shared.path}.lock").touch()
    assert len(searched(tmp_path, 2, Hill())[1]) == 2


@only_journal
def test_a_journal_that_is_deleted_is_reported_in_one_line(shared: Journal, tmp_path: Path) -> None:
    def delete(numbers: object) -> None:
        shared.path.unlink()

    with pytest.raises(
        UserError, match=r"studies.log: the study cannot be reached \(.*\); finished trials are kept; run"
    ):
        searched(tmp_path, 2, Hill(on_begin=delete))
    assert not shared.path.exists()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://me:secret@host/db", r"mysql://me:\*\*\*@host/db: cannot hold shared studies"),
        ("postgresql+psycopg2://me:secret@host/db", r"psycopg2://me:\*\*\*@host/db: cannot hold shared studies"),
        ("postgresql://me:secret@host", r"me:\*\*\*@host: cannot hold shared studies"),
        ("sqlite:///studies.db", "cannot hold shared studies"),
        ("secret host", "not the address of a database"),
        ("postgresql://me:secret@host:port/db", "not the address of a database"),
        ("grpc://host", "not the address of a proxy"),
        ("grpc://host:port", "not the address of a proxy"),
        ("grpc://me:secret@host:13000", "not the address of a proxy"),
        ("grpc://host:13000/secret", "not the address of a proxy"),
        ("journal://shared/studies.log", "not the absolute path of a file"),
        ("journal:///", "not the absolute path of a file"),
    ],
)
def test_other_addresses_are_refused(address: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED, address)
    with pytest.raises(
        UserError, match=rf"LAMINA_STUDIES: .*{shown}.*; expected (postgresql|journal|grpc)://"
    ) as caught:
        place_of("hill", "tests", {}, Path())
    assert "secret" not in str(caught.value)


def test_a_process_killed_while_it_makes_a_study_leaves_none(tmp_path: Path) -> None:
    """A file with some of the tables, or one without its index, could not be used."""
    imports = "from lamina.tuning.places import Place; from lamina.tuning.studies import resume; "
    code = imports + "resume(Place(url='sqlite:///s/a.db', study='a', identity={}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(list(tmp_path.glob("s/.part-*/a.db"))), process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "s" / "a.db").exists()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.db"]


def test_results_do_not_depend_on_where_the_study_is(shared: Shared, tmp_path: Path) -> None:
    assert place_of("hill", "tests", IDENTITY, tmp_path).identity == IDENTITY
    numbers, trials = searched(tmp_path, 3, Hill(), pruner="none")
    os.environ.pop(SHARED)
    alone_numbers, alone_trials = searched(tmp_path, 3, Hill(), pruner="none")
    assert numbers == alone_numbers
    pd.testing.assert_frame_equal(trials, alone_trials, check_exact=True)


def test_a_worker_is_dead_once_its_trial_shows_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clocks of the machines say: only the time between two looks of one process counts."""
    from optuna.trial import FrozenTrial, TrialState, create_trial

    def trial(state: TrialState = TrialState.RUNNING, beat: int = 0, reports: int = 0) -> FrozenTrial:
        values = dict.fromkeys(range(reports), 0.5)
        return create_trial(
            state=state, value=0.5, system_attrs={HEARTBEAT: beat}, intermediate_values=values, params={}
        )

    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    signs = Signs(60)
    assert not signs.dead([trial()])
    now += 61
    assert len(signs.dead([trial()])) == 1
    assert not signs.dead([trial(beat=1)])
    now += 61
    assert not signs.dead([trial(beat=1, reports=1)])
    now += 61
    assert not signs.dead([trial(TrialState.COMPLETE, beat=1, reports=1)])
