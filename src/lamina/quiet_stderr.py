"""Hide what libraries print to stderr, also from C and C++."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def quiet_stderr(*, python: bool = True) -> Iterator[None]:
    """Drop everything that is written to the file descriptor of stderr inside the `with` block.

    Args:
        python: whether to drop what Python writes to `sys.stderr` as well. If false, other threads can still show
            their progress.
    """
    sys.stderr.flush()
    original, devnull = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    stream = sys.stderr
    if not python and stream is sys.__stderr__:  # otherwise it does not use this descriptor
        sys.stderr = io.TextIOWrapper(io.FileIO(original, "w", closefd=False), "utf-8", "replace", write_through=True)
    os.dup2(devnull, STDERR)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, STDERR)
        sys.stderr = stream
        os.close(original)
        os.close(devnull)
