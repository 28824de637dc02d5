"""Atomic writes, large writes in pieces, and digests of files."""

import hashlib
import io
import json
import mmap
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from filelock import FileLock, Timeout

from lamina.errors import UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE: Final = 2**16  # bytes copied or written at a time; this fits the processor's cache
_PLACE: Final = ".part-"  # begins the name of a writer's folder
_LOCK: Final = "lock"  # file in it
_YOUNG: Final = 60.0  # seconds
_JOBLIB: Final = "JOBLIB_TEMP_FOLDER"  # without it, joblib takes shared memory, which nobody removes after a kill


def discard(path: Path) -> None:
    """Delete a file, a link or a folder with its contents; do nothing if the path does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def staged(out: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path; rename it to `out` if the body succeeds.

    An existing `out` is replaced only at the end. After an error or Ctrl-C, it is unchanged and the temporary file is
    deleted. Each writer has a place of its own: of several processes that write the same `out`, the last one replaces
    what the others wrote. What killed processes left next to `out` is removed.

    Args:
        out: the file to write, or the folder if `folder` is true.
        folder: whether to create a folder.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(out.parent)
    with _own_place(out.parent) as place:
        part = place / out.name  # the suffix stays: libraries choose the format by it
        if folder:
            part.mkdir()
        yield part
        if folder and out.exists():
            out.replace(place / f"old-{out.name}")  # a folder does not replace another one
        part.replace(out)


@contextmanager
def _own_place(parent: Path) -> Iterator[Path]:
    """Make a folder `.part-PROCESS-...`, whose lock tells the others that its process lives; remove it at the end."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f"{_PLACE}{os.getpid()}-", dir=parent))
        lock = FileLock(place / _LOCK, thread_local=False)
        with suppress(Timeout, FileNotFoundError):  # another process took it for abandoned before it was locked
            lock.acquire(blocking=False)
            break
    try:
        yield place
    finally:
        lock.release()
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Have this process write temporary files to a folder of its own, which is removed at the end.

    What killed processes left is removed at the beginning: libraries remove their temporary files only at their end.
    """
    before, folder = tempfile.tempdir, machine_folder()
    _remove_abandoned(folder)
    with _own_place(folder) as place:
        tempfile.tempdir = str(place)
        os.environ.setdefault(_JOBLIB, str(place))
        try:
            yield
        finally:
            tempfile.tempdir = before
            if os.environ[_JOBLIB] == str(place):
                del os.environ[_JOBLIB]


def machine_folder() -> Path:
    """Return the folder of this machine for temporary files, which the processes of a user share."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder.name.startswith(_PLACE) else folder


def _remove_abandoned(parent: Path) -> None:
    """Remove the places of processes that were killed."""
    for place in parent.glob(f"{_PLACE}*"):
        # held by a live process, or gone meanwhile
        with suppress(Timeout, OSError):
            if not _is_own(place):
                continue
            if not (place / _LOCK).exists() and time.time() - place.stat().st_mtime < _YOUNG:
                continue  # its process is about to lock it
            with FileLock(place / _LOCK, thread_local=False).acquire(blocking=False):
                shutil.rmtree(place, ignore_errors=True)


def _is_own(place: Path) -> bool:
    """Whether a place is a folder of this user; in a shared folder, others may put links to anywhere."""
    status = place.lstat()
    return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())


def copy_bytes(source: BinaryIO, target: BinaryIO, count: int) -> None:
    """Copy the next `count` bytes of one file to another.

    Raises:
        UserError: if `source` ends before that.
    """
    buffer = memoryview(bytearray(PIECE))
    while count:
        read = source.readinto(buffer[: min(count, PIECE)])  # type: ignore[attr-defined]  # missing in typeshed
        if not read:
            raise UserError(f"{source.name}: cut short by {count} bytes; remove it and run again")
        target.write(buffer[:read])
        count -= read


class PiecewiseWriter(io.BufferedWriter):
    """A binary file for writing that passes large data to the system in small pieces.

    If large data are written in one piece, the system searches for large memory pages; on a virtual machine this more
    than doubles the time (0.9 GB: 2.0 s in the kernel against 0.9 s).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))

    def write(self, data: "ReadableBuffer", /) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            super().write(view[start : start + PIECE])
        return len(view)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically. Keys are sorted: the same value gives the same bytes."""
    with staged(path) as part:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        part.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that a stage wrote; raises UserError where it is not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run `dvc repro`") from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON-like value, in hexadecimal; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def release(mapped: Any) -> None:
    """Free the memory that reading a memory-mapped array took; the array stays readable.

    Does nothing for other arrays.
    """
    if isinstance(mapped.base, mmap.mmap):
        mapped.base.madvise(mmap.MADV_DONTNEED)
