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
