"""Work on shards ends with the error that ends its loop, whether that is the work's or the loop's own."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lamina.data.shards import FEW_PICTURES, LARGE_PICTURE, map_shards

BACKENDS = {"threads": LARGE_PICTURE, "processes": 0}

STOPS = """
import os, sys, time
from lamina.data.shards import FEW_PICTURES, map_shards
from lamina.stages import entry

def work(number):
    time.sleep(0.02)
    if sys.argv[2] == "work" and number == 2:
        raise OSError(28, "No space left on device", "a.npy")
    if sys.argv[2] == "killed" and number == 2:
        os.kill(os.getpid(), 9)
    return bytes(2**17)

def main():
    tasks = [(number,) for number in range(12)]
    for _ in map_shards(work, tasks, sizes=[FEW_PICTURES] * 12, picture=float(sys.argv[1]), what="test"):
        if sys.argv[2] == "loop":
            raise OSError(28, "No space left on device", "a.npy")

if __name__ == "__main__":
    entry.run(main)
"""


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")


def message(backend: str, raising: str, folder: Path) -> str:
    """What a process prints that ends with an error."""
    script = folder / "script.py"
    script.write_text(STOPS)
    command = [sys.executable, str(script), str(BACKENDS[backend]), raising]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


@pytest.mark.parametrize("raising", ["loop", "work"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_ends_the_process_in_seconds_and_in_one_line(backend: str, raising: str, tmp_path: Path) -> None:
    full = "error: no space left on the disk while writing a.npy; free some and run again\n"
    assert message(backend, raising, tmp_path) == full


def test_a_worker_that_the_system_kills_is_one_line(tmp_path: Path) -> None:
    assert message("processes", "killed", tmp_path) == (
        "error: test: the system killed a process that worked on pictures, most likely because memory ran out; "
        "free some and run again: what was finished is kept\n"
    )


@pytest.mark.parametrize("raising", ["loop", "work"])
def test_no_thread_works_on_after_an_error(raising: str) -> None:
    second_began, second_ended = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 0:
            second_began.wait(30)
            if raising == "work":
                raise OSError("full")
        elif number == 1:
            second_began.set()
            threading.Event().wait(0.5)
            second_ended.set()
        return number

    def loop() -> None:
        for _ in map_shards(work, [(0,), (1,)], sizes=[FEW_PICTURES] * 2, picture=LARGE_PICTURE, what="test"):
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        loop()
    assert second_began.is_set()
    assert second_ended.is_set()
