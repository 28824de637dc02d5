"""`python -m lamina.stages`: an interrupted stage ends, whatever a library makes of the interruption."""

import subprocess
import sys
import time

import psutil

# a stage that swallows Ctrl-C, and has a process that works for it
DEAF = """
import os, signal, subprocess, sys, time
from lamina.stages import __main__ as stages

stages.SECONDS_TO_END = 0.3
signal.signal(signal.SIGINT, stages._interrupted)
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(helper.pid, flush=True)
while True:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        time.sleep(60)
"""


def test_a_stage_that_swallows_an_interruption_ends_with_its_processes() -> None:
    done = subprocess.run([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True, timeout=20)
    assert done.returncode == 130
    end = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)):
        assert time.monotonic() < end
        time.sleep(0.05)
