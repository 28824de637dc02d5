"""Locks between processes: one holds a lock at a time, and the system releases it however that process ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from lamina.errors import UserError

LOCKS: Final = Path(".lamina/locks")  # in a system's folder
PATIENCE: Final = 20.0  # seconds to wait for a process that is about to end


@contextmanager
def exclusive(path: Path, what: str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a lock. Its files stay; `path` with the suffix `.pid` names the process that held it last.

    Args:
        path: file of the lock.
        what: it guards, for the message.
        patience: seconds to wait for another process.

    Raises:
        UserError: if another process holds the lock for longer; the message names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder, lock = path.with_suffix(".pid"), FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        process = holder.read_text(encoding="ascii") if holder.exists() else "unknown"
        raise UserError(
            f"{path}: process {process} has held {what} for {patience:.0f} s; "
            "wait until it has ended, or end it, and run again"
        ) from None
    try:
        if holder.exists():
            _remove_semaphores(holder.read_text(encoding="ascii"))
        holder.write_text(str(os.getpid()), encoding="ascii", newline="\n")
        yield
    finally:
        lock.release()


def _remove_semaphores(process: str) -> None:
    """Remove the semaphores of joblib's workers that a killed process left in the shared memory of Linux."""
    if process.isdecimal() and not Path(f"/proc/{process}").exists():
        for path in Path("/dev/shm").glob(f"sem.loky-{process}-*"):  # noqa: S108 - where glibc puts them
            with suppress(OSError):  # of another user
                path.unlink()
