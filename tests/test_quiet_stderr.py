"""What is dropped, and what is not, seen in a process of its own whose stderr is a pipe."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from lamina.quiet_stderr import quiet_stderr
with quiet_stderr({how}):
    os.write(2, b"a library\\n")
    print("python", file=sys.stderr)
os.write(2, b"after\\n")
print("python after", file=sys.stderr)
"""


@pytest.mark.parametrize(("how", "told"), [("", []), ("python=True", []), ("python=False", ["python"])])
def test_libraries_are_silent_and_python_where_it_shall_be(how: str, told: list[str]) -> None:
    command = [sys.executable, "-c", SCRIPT.format(how=how)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert said.splitlines() == [*told, "after", "python after"]


OVERLAPPING = """
import os, sys
from threading import Barrier, Thread
from lamina.quiet_stderr import quiet_stderr
inside, left = Barrier(2), Barrier(2)
def first():
    with quiet_stderr(python={python}):
        inside.wait()
    left.wait()
def second():
    with quiet_stderr(python={python}):
        inside.wait()
        left.wait()
        os.write(2, b"a library\\n")
threads = [Thread(target=first), Thread(target=second)]
[one.start() for one in threads], [one.join() for one in threads]
os.write(2, b"after\\n")
print("python after", file=sys.stderr)
"""


@pytest.mark.parametrize("python", [True, False])
def test_stderr_comes_back_when_the_last_of_two_threads_leaves(python: bool) -> None:
    command = [sys.executable, "-c", OVERLAPPING.format(python=python)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert said.splitlines() == ["after", "python after"]
