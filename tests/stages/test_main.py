"""`python -m lamina.stages`: an interrupted stage ends, whatever a library makes of the interruption."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from lamina.stages import warm

# a stage that swallows Ctrl-C
DEAF = """
import contextlib, os, signal, subprocess, sys, time
from lamina.stages import __main__ as stages

def main():
    {first}
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    {then}

stages.SECONDS_TO_END = {seconds}
stages.run(main)
"""
# and has a process that works for it
HELPED = (
    "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(helper.pid, flush=True)"
)


def run_deaf(folder: Path, first: str, then: str, seconds: float) -> "subprocess.CompletedProcess[str]":
    code = DEAF.format(first=first, then=then, seconds=seconds)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, cwd=folder)


def test_a_stage_that_swallows_an_interruption_ends_with_its_processes(tmp_path: Path) -> None:
    done = run_deaf(tmp_path, HELPED, "time.sleep(60)", 0.3)
    assert done.returncode == 130
    end = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_after_a_swallowed_interruption_dvc_does_not_go_on(tmp_path: Path) -> None:
    done = run_deaf(tmp_path, "pass", "pass", 60)
    assert done.returncode == 130
    assert done.stderr == f"{warm.ENDED}\n"
