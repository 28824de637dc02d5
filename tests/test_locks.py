"""Locks: one process at a time, released by the system when it is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamina.errors import UserError
from lamina.locks import exclusive

HOLDER = """
import sys, time
from pathlib import Path
from lamina.locks import exclusive

with exclusive(Path("lock"), "the cake"):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def hold(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(seconds)], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_stops_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    first = hold(tmp_path, 60)
    expected = f"lock: process {first.pid} has held the cake for 0 s; wait until it has ended, or end it, and run again"
    with pytest.raises(UserError, match=expected), exclusive(tmp_path / "lock", "the cake", patience=0.1):
        pass
    first.kill()
    first.communicate()
    with exclusive(tmp_path / "lock", "the cake", patience=0.1):
        assert (tmp_path / "lock.pid").read_text() == str(os.getpid())


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    first, start = hold(tmp_path, 0.5), time.monotonic()
    with exclusive(tmp_path / "lock", "the cake"):
        assert time.monotonic() - start > 0.3
    first.communicate(timeout=60)
    assert first.returncode == 0
