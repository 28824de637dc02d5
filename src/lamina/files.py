"""Files that are there whole or not at all, how large ones are written, and digests of what they hold."""

import hashlib
import io
import json
import mmap
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from lamina.errors import UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE: Final = 2**16  # bytes that are copied or written at a time: they stay in the processor's cache


def _beside(out: Path) -> Path:
    return out.parent / f".part-{out.name}"  # keeps the suffix, by which libraries choose a format


def discard(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def staged(out: Path, *, folder: bool = False) -> Iterator[Path]:
    """Give a path beside `out` to write to; rename it to `out` when all went well.

    out: the file (or, with `folder=True`, the folder) that shall appear. What stood there before is
    replaced only at the end; after an error, or Ctrl-C, nothing of the new one is left.
    """
    part = _beside(out)
    part.parent.mkdir(parents=True, exist_ok=True)
    discard(part)
    if folder:
        part.mkdir()
    try:
        yield part
        if folder and out.exists():
            discard(out)
        part.replace(out)
    finally:
        discard(part)


def copy_bytes(source: BinaryIO, target: BinaryIO, count: int) -> None:
    """Copy the next `count` bytes of a file to another. Raises UserError where there are not so many."""
    buffer = memoryview(bytearray(PIECE))
    while count:
        read = source.readinto(buffer[: min(count, PIECE)])  # type: ignore[attr-defined]  # typeshed leaves it out
        if not read:
            raise UserError(f"{source.name}: cut short by {count} bytes; remove it and run again")
        target.write(buffer[:read])
        count -= read


class PiecewiseWriter(io.BufferedWriter):
    """A file to write whose large data reach the system in pieces.

    In one piece they ask it for large pages, whose search costs a virtual machine more than twice the time
    (0.9 GB: 2.0 s in the kernel against 0.9 s).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))

    def write(self, data: "ReadableBuffer", /) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            super().write(view[start : start + PIECE])
        return len(view)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all: sorted keys, so that the same value is the same bytes."""
    with staged(path) as part:
        part.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that a stage wrote; raises UserError where it is not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run `dvc repro`") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON-like value, in hexadecimal; key order does not count."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def release(mapped: Any) -> None:
    """Give back the memory that reading an array from its file took, where it is memory-mapped; it stays readable."""
    if isinstance(mapped.base, mmap.mmap):
        mapped.base.madvise(mmap.MADV_DONTNEED)
