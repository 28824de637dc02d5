"""What happens when a server goes away, a file is damaged, or an address is wrong."""

import os
import re
import time
from pathlib import Path

import pandas as pd
import pytest

from lamina.errors import UserError
from lamina.tuning.places import SHARED, place_of
from searching import IDENTITY, Hill, searched
from sharing import (
    PASSWORD,
    Journal,
    Proxy,
    Server,
    Shared,
    Worker,
    begun,
    free_port,
    go,
    only_database,
    only_journal,
    only_proxy,
    only_servers,
    states,
    wait_for,
)

GUESS = "guess"


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
    assert PASSWORD not in error
    assert re.search(r"finished trials are kept; run again when the (server|proxy) answers$", error.strip())
    assert not (tmp_path / "trials-0.csv").exists()
    shared.start()
    assert states("away").count("COMPLETE") >= 1


@only_database
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
        assert PASSWORD not in str(caught.value)


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
@pytest.mark.parametrize(("again", "reason"), [(False, "No such file"), (True, "deleted or replaced")])
def test_a_journal_that_is_deleted_is_reported_at_once(
    shared: Journal, again: bool, reason: str, tmp_path: Path
) -> None:
    """Also if another worker has made the file again."""
    trials = []

    def delete(numbers: object) -> None:
        trials.append(numbers)
        shared.path.unlink()
        if again:
            shared.path.touch()

    with pytest.raises(
        UserError, match=rf"studies.log: the study cannot be reached \(.*{reason}.*\); finished trials are kept; run"
    ):
        searched(tmp_path, 2, Hill(on_begin=delete))
    assert len(trials) == 1
