"""Hide what libraries print to stderr, also from C and C++."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

STDERR = 2

_LOCK = Lock()
_hiding: list[int] = []  # the descriptor of the true stderr, once for each block that threads are in


@contextmanager
def quiet_stderr(*, python: bool = True) -> Iterator[None]:
    """Drop everything that is written to the file descriptor of stderr inside the `with` block.

    Several threads may be in such blocks: stderr comes back when the last one leaves.

    Args:
        python: whether to drop what Python writes to `sys.stderr` as well. If false, other threads can still show
            their progress.
    """
    sys.stderr.flush()
    original, stream = _hide(), sys.stderr
    shown = not python and stream is sys.__stderr__  # otherwise it does not use this descriptor
    if shown:
        sys.stderr = io.TextIOWrapper(io.FileIO(original, "w", closefd=False), "utf-8", "replace", write_through=True)
    try:
        yield
    finally:
        sys.stderr.flush()
        if shown:
            sys.stderr = stream
        _show()


def _hide() -> int:
    with _LOCK:
        if not _hiding:
            _hiding.append(os.dup(STDERR))
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, STDERR)
            os.close(devnull)
        else:
            _hiding.append(_hiding[0])
        return _hiding[0]


def _show() -> None:
    with _LOCK:
        original = _hiding.pop()
        if not _hiding:
            os.dup2(original, STDERR)
            os.close(original)
