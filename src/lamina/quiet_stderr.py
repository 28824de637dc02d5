"""Silence where libraries talk past Python: what they print when they are loaded is no affair of the reader's."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def quiet_stderr(*, python: bool = True) -> Iterator[None]:
    """Drop what libraries print to stderr past Python's own stream; with `python`, what that prints as well.

    Without, other threads may go on telling of their work.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    stream = sys.stderr
    if not python and stream is sys.__stderr__:  # else it goes elsewhere anyway
        sys.stderr = io.TextIOWrapper(io.FileIO(kept, "w", closefd=False), "utf-8", "replace", write_through=True)
    os.dup2(nowhere, STDERR)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, STDERR)
        sys.stderr = stream
        os.close(kept)
        os.close(nowhere)
