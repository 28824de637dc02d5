"""Reads the files of a zip or tar archive one by one, without unpacking them to disk.

A zip and a plain tar are read in place. A compressed tar can be read only from front to back, but pictures are needed
in sorted order: it is decompressed once to a temporary file without a name.
"""

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from lamina.data.sources.members import MAX_MEMBERS, Members, check_size, checked_name, ignored_part, sorted_names
from lamina.errors import UserError
from lamina.progress import progress

# Largest content, in multiples of the archive's size, but always 1 GiB; real archives of text reach 30.
MAX_EXPANSION: Final = 100
ALWAYS_ALLOWED: Final = 2**30
LONGEST_HEADER: Final = 2**20  # bytes of a tar's extended header; real ones hold one or two names
CHUNK: Final = 2**20

# what the libraries raise for a broken archive
DAMAGED: Final = (
    NotImplementedError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    ValueError,
    IndexError,
    OverflowError,
    RecursionError,
)
DECOMPRESSORS: Final[Mapping[str, Callable[..., Any]]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
# (offset, bytes at that offset, kind of file)
SIGNATURES: Final = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (257, b"ustar", "tar"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself (run `git lfs pull`)"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"%PDF", "a PDF document"),
)


class NoArchiveError(UserError):
    """A file that is no archive, or a damaged one: another download may help."""


@contextmanager
def open_archive(path: Path, *, where: str, spool: Path) -> Iterator[Members]:
    """Open a zip, or a tar (plain or compressed by gzip, bzip2 or xz).

    Args:
        path: The archive.
        where: Name of the archive in error messages.
        spool: Folder for the content of a compressed tar.

    Yields:
        The files of the archive.

    Raises:
        NoArchiveError: Here or on reading, if it is no archive, or damaged.
        UserError: If it is encrypted or too large; for members that are links or devices, or whose names point outside.
    """
    with ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise UserError(f"{where}: cannot open: {error.strerror}") from None
        kind = _kind(file)
        if kind in DECOMPRESSORS:
            file, kind = _decompress(file, kind, where, stack.enter_context(tempfile.TemporaryFile(dir=spool))), "tar"
            if _kind(file) != "tar":
                raise NoArchiveError(
                    f"{where}: a single compressed file, expected an archive; pack a folder as zip or tar"
                )
        if kind not in ("zip", "tar"):
            raise NoArchiveError(f"{where}: this is {kind}; expected a zip or tar archive (tar.gz, tar.bz2, tar.xz)")
        yield _zip(file, where) if kind == "zip" else _tar(file, where)


def _kind(file: BinaryIO) -> str:
    """Kind of a file by its first bytes: zip, tar, a compression, or words for an error message."""
    file.seek(0)
    head = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    for offset, signature, kind in SIGNATURES:
        if head.startswith(signature, offset):
            return kind
    if not head:
        return "an empty file"
    if head.lstrip()[:20].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML or XML page (an error page saved by a download?)"
    if _is_header(head) or head.count(0) == tarfile.BLOCKSIZE:  # an old tar, or an empty one
        return "tar"
    if zipfile.is_zipfile(file):  # a self-extracting zip starts with a program
        return "zip"
    return "not a known kind of archive"


def _is_header(block: bytes) -> bool:
    """Whether a block is the header of a file in a tar: its checksum tells."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def check_expansion(unpacked: int, packed: int, where: str) -> None:
    """Raise UserError if so many bytes may not come from a file of `packed` bytes."""
    allowed = max(ALWAYS_ALLOWED, MAX_EXPANSION * packed)
    if unpacked > allowed:
        raise UserError(
            f"{where}: would unpack to more than {allowed // 2**20} MiB, {MAX_EXPANSION} times its size; "
            "if you trust it, unpack it yourself and set kind: folder"
        )


@contextmanager
def reported_damage(where: str, name: str | None = None, what: str = "the archive") -> Iterator[None]:
    """Raise NoArchiveError for what the libraries raise for a broken archive or compressed file.

    Args:
        where: Name of the source in error messages.
        name: Name of the file that is read in an archive.
        what: What is broken, in words.
    """
    try:
        yield
    except (OSError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; decompressors set no number
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        place = f" at {name!r}" if name else ""
        problem = f"{where}: {what} is damaged or cut short{place} ({reason}); download or pack it again"
        raise NoArchiveError(problem) from None


def check_count(count: int, where: str) -> None:
    """Raise UserError if a source has more than `MAX_MEMBERS` files."""
    if count > MAX_MEMBERS:
        raise UserError(f"{where}: holds more than {MAX_MEMBERS:,} members; split the archive")


def _zip(file: BinaryIO, where: str) -> Members:
    packed = file.seek(0, 2)
    with reported_damage(where):
        archive = _open_zip(file)
    check_count(len(archive.infolist()), where)
    check_expansion(sum(info.file_size for info in archive.infolist()), packed, where)
    checked = [(_zip_name(info, where), info) for info in archive.infolist()]
    files = [(name, info) for name, info in checked if not info.is_dir()]
    ignored = Counter(part for name, _ in files if (part := ignored_part(name)))
    infos = {name: info for name, info in files if not ignored_part(name)}
    names = sorted_names((name for name, _ in files if name in infos), where)

    def read(name: str) -> bytes:
        info = infos[name]
        check_size(info.file_size, name, where)
        with reported_damage(where, name):
            try:
                return archive.read(info)  # zipfile stops at `file_size`
            except NotImplementedError as error:
                problem = f"{where}: cannot unpack {name!r}: {error}; pack the archive again as plain zip"
                raise UserError(problem) from None

    return Members(where=where, names=names, read=read, ignored=ignored)


def _open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip with names in UTF-8, with or without its flag (macOS sets none), or else in code page 850.

    Windows in the languages of Western Europe and America writes 850. It has the Latin letters of 437, which the format
    names, and others (`ã`, `õ`, `Á`, ...) where 437 has frames of boxes, which are in no name of a file.
    """
    try:
        return zipfile.ZipFile(file, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(file, metadata_encoding="cp850")


def _zip_name(info: zipfile.ZipInfo, where: str) -> str:
    name = checked_name(info.filename, where)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UserError(f"{where}: {name!r} is a link or a device; refused; pack the files themselves")
    if info.flag_bits & 1 and not info.is_dir():
        raise UserError(f"{where}: {name!r} is encrypted; pack the archive again without a password")
    return name


class _Header(tarfile.TarInfo):
    """A tar header that refuses huge extended headers, which fill the memory, and negative sizes."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        extended = header.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE)
        if header.size < 0 or (extended and header.size > LONGEST_HEADER):
            raise tarfile.ReadError(f"a header of type {header.type!r} has a size of {header.size}")
        return header


def _tar(file: BinaryIO, where: str) -> Members:
    with reported_damage(where):
        found = list(_tar_files(file, where))
    ignored = Counter(part for name, _, _ in found if (part := ignored_part(name)))
    found = [one for one in found if not ignored_part(one[0])]
    names = sorted_names((name for name, _, _ in found), where)
    places = {name: (offset, size) for name, offset, size in found}

    def read(name: str) -> bytes:
        offset, size = places[name]
        check_size(size, name, where)
        with reported_damage(where, name):
            file.seek(offset)
            data = file.read(size)
            if len(data) < size:
                raise EOFError("unexpected end of data")
        return data

    return Members(where=where, names=names, read=read, ignored=ignored)


def _tar_files(file: BinaryIO, where: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset, size) of each file; raises one of DAMAGED if the chain of headers breaks."""
    with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as archive:
        count, offset = 0, -1
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all headers in memory
            count += 1
            check_count(count, where)
            if archive.offset <= offset:
                raise tarfile.ReadError("a header points backwards")
            offset = archive.offset
            name = checked_name(member.name, where)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise UserError(f"{where}: {name!r} is a link, a device or sparse; refused; pack the files themselves")
            yield name, member.offset_data, member.size
        file.seek(archive.offset)
        # tarfile stops silently at a broken or missing header; a real end is a block of zeros
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("a header is broken, or the end is missing")
    _check_end(file, where)


def _check_end(file: BinaryIO, where: str) -> None:
    """Refuse a tar behind the end of the tar, as `cat a.tar b.tar` makes it: its files would be lost."""
    following = next(filter(any, iter(lambda: file.read(tarfile.BLOCKSIZE), b"")), b"")
    if _is_header(following):
        raise UserError(
            f"{where}: more files follow behind the end of the tar; unpack it with `tar --ignore-zeros`, and set "
            "kind: folder"
        )


def _decompress(file: BinaryIO, kind: str, where: str, spool: BinaryIO) -> BinaryIO:
    """Decompress a file to `spool`, up to the allowed size."""
    packed = file.seek(0, 2)
    file.seek(0)
    with reported_damage(where), DECOMPRESSORS[kind](file, "rb") as stream:
        for chunk in progress(iter(lambda: stream.read(CHUNK), b""), what="unpack", unit="MiB"):
            check_expansion(spool.tell() + len(chunk), packed, where)
            spool.write(chunk)
    return spool
