"""IDX files, the format of MNIST: a file of images is read as a folder of pictures, with labels from a second file.

The images of `t10k-images-idx3-ubyte.gz` are `t10k-images/00000.png` and so on; `t10k-labels-idx1-ubyte.gz` holds
their labels. Both may be compressed with gzip or not. Pictures are decompressed one by one.
"""

import gzip
import io
import math
import posixpath
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO, Final, cast

import numpy as np

from lamina.data.sources.archive import CHUNK, check_count, check_expansion, reported_damage
from lamina.data.sources.members import IDX_SUFFIXES, Members, check_size, sorted_names, stem
from lamina.data.sources.png import encode_grey
from lamina.errors import UserError

IDX: Final = "idx"  # value of `source.labels`
# how a file starts: two zeros, the type of its values (8: unsigned bytes), and the number of dimensions
STARTS: Final = {"images": bytes((0, 0, 8, 3)), "labels": bytes((0, 0, 8, 1))}
GZIP: Final = b"\x1f\x8b"
DIGITS: Final = 5  # of a picture's number, at least


@dataclass(frozen=True, kw_only=True)
class IdxImages:
    """A file of images.

    Attributes:
        name: Its name in the source.
        count: Number of images.
        height: Of each image in pixels.
        width: Of each image in pixels.
    """

    name: str
    count: int
    height: int
    width: int

    @property
    def folder(self) -> str:
        """The folder of its pictures: its name without suffixes."""
        return re.sub(r"(?<=[^/])[-.]?idx3-ubyte(\.gz)?$", "", self.name, flags=re.IGNORECASE)

    def pictures(self) -> Iterator[str]:
        """The names of its pictures, in order."""
        digits = max(DIGITS, len(str(self.count - 1)))
        return (f"{self.folder}/{index:0{digits}d}.png" for index in range(self.count))


def is_idx(name: str) -> bool:
    """Whether a file is one of images, by its name."""
    return name.lower().endswith(IDX_SUFFIXES)


def find_idx(members: Members) -> tuple[IdxImages, ...]:
    """Find the files of images, and read each to its end.

    Raises:
        UserError: If a file is damaged, is no IDX file of images, is shorter or longer than its header declares, or
            would unpack to more than an archive may.
    """
    found: list[IdxImages] = []
    packed = unpacked = 0
    for name in filter(is_idx, members.names):
        data, place = members.read(name), f"{members.where}: {name!r}"
        with _unpack(data, place) as stream:
            count, height, width = sizes = _read_sizes(stream, "images", place)
            if not math.prod(sizes):
                raise UserError(
                    f"{place}: holds {count} images of {height}x{width} pixels, which is nothing; remove it"
                )
            file = IdxImages(name=name, count=count, height=height, width=width)
            twice = next((other.name for other in found if other.folder == file.folder), None)
            if twice is not None:
                raise UserError(f"{place}: gives its pictures the same names as {twice!r}; remove one of them")
            found.append(file)
            packed, unpacked = packed + len(data), unpacked + math.prod(sizes)
            check_size(height * width, next(file.pictures()), members.where)
            check_count(sum(one.count for one in found), members.where)
            if data.startswith(GZIP):
                check_expansion(unpacked, packed, place)
            _check_length(math.prod(sizes), _count_bytes(stream, math.prod(sizes)), 3, place)
    return tuple(found)


def _count_bytes(stream: BinaryIO, expected: int) -> int:
    """Count the bytes that are left, and stop when there are more than expected."""
    found = 0
    while found <= expected and (chunk := stream.read(CHUNK)):
        found += len(chunk)
    return found


def expand(members: Members, files: Sequence[IdxImages]) -> Members:
    """Return the members with the pictures of `files` in place of these files.

    Pictures are grey PNG files, the same bytes on every machine. They are read fastest in the order of their names.

    Raises:
        UserError: If two files, or a file and a folder, give a picture the same name.
    """
    if not files:
        return members
    packed, folders = {file.name for file in files}, {file.folder: file for file in files}
    others = [name for name in members.names if name not in packed]
    real = frozenset(others)

    @lru_cache(maxsize=1)
    def opened(name: str) -> BinaryIO:
        return _open(members.read(name))

    def read(name: str) -> bytes:
        if name in real:
            return members.read(name)
        file, index = folders[posixpath.dirname(name)], int(stem(name))
        size, stream = file.height * file.width, opened(file.name)
        with reported_damage(f"{members.where}: {file.name!r}", what="the file"):
            stream.seek(_header_bytes(3) + index * size)
            pixels = np.frombuffer(stream.read(size), np.uint8).reshape(file.height, file.width)
        return encode_grey(pixels)

    names = sorted_names([*others, *(name for file in files for name in file.pictures())], members.where)
    return replace(members, names=names, read=read)


def read_idx_labels(members: Members, files: Sequence[IdxImages]) -> Callable[[str], tuple[str, ...]]:
    """Return a function from the name of a picture to its label, a number as text; other pictures have none.

    Args:
        members: Files of the source, not expanded.
        files: Its files of images.

    Raises:
        UserError: If there are no files of images, or one has no file of as many labels.
    """
    if not files:
        raise UserError(
            f"{members.where}: source.labels is {IDX!r}, but there is no IDX file of images: looked for names that end "
            f"in {' or '.join(IDX_SUFFIXES)}; set source.labels to folder, a CSV, or none"
        )
    tables = {file.folder: _read_labels(members, file) for file in files}
    real = frozenset(members.names)

    def label(name: str) -> tuple[str, ...]:
        table = tables.get(posixpath.dirname(name))
        return () if table is None or name in real else (str(table[int(stem(name))]),)

    return label


def labels_file(members: Members, images: str) -> str:
    """Return the name of the file with the labels of a file of images. Raises UserError if there is none."""
    folder, base = posixpath.split(images)
    # some archives keep each file in a folder with the file's name
    places = [posixpath.join(folder, _of_labels(base)), _of_labels(images)]
    found = next((name for place in places for name in (place, f"{place}.gz") if name in members.names), None)
    if found is None:
        raise UserError(
            f"{members.where}: source.labels is {IDX!r}, but {images!r} has no file of labels: looked for "
            f"{places[0]!r}, also with .gz; add it, or set source.labels to none"
        )
    return found


def _of_labels(images: str) -> str:
    return images.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")


def _read_labels(members: Members, images: IdxImages) -> bytes:
    name = labels_file(members, images.name)
    place = f"{members.where}: {name!r}"
    with _unpack(members.read(name), place) as stream:
        (count,) = _read_sizes(stream, "labels", place)
        if count != images.count:
            raise UserError(
                f"{place}: holds {count} labels, but {images.name!r} holds {images.count} images; "
                "download both again from one place"
            )
        labels = stream.read(count + 1)
        _check_length(count, len(labels), 1, place)
        return labels


@contextmanager
def _unpack(data: bytes, place: str) -> Iterator[BinaryIO]:
    with reported_damage(place, what="the file"), _open(data) as stream:
        yield stream


def _open(data: bytes) -> BinaryIO:
    """Open a file that may be compressed; its name does not decide, as some browsers decompress and keep the name."""
    file = io.BytesIO(data)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if data.startswith(GZIP) else file


def _read_sizes(stream: BinaryIO, content: str, place: str) -> tuple[int, ...]:
    """Read the header: the number of images or labels, then for images height and width."""
    start = STARTS[content]
    dimensions = start[-1]
    head = stream.read(_header_bytes(dimensions))
    if not head.startswith(start):
        raise UserError(
            f"{place}: starts with {head[:4].hex(' ') or 'nothing'}, expected {start.hex(' ')}: an IDX file of "
            f"{content}, unsigned bytes in {dimensions} dimension{'s' * (dimensions > 1)}; replace or remove it"
        )
    if len(head) < _header_bytes(dimensions):
        raise UserError(
            f"{place}: cut short: expected a header of {_header_bytes(dimensions)} bytes, found {len(head)}"
        )
    return struct.unpack(f">{dimensions}I", head[len(start) :])


def _header_bytes(dimensions: int) -> int:
    return 4 + 4 * dimensions


def _check_length(expected: int, found: int, dimensions: int, place: str) -> None:
    """Compare the bytes behind the header with what it declares."""
    if found != expected:
        header = _header_bytes(dimensions)
        shown = f"{header + found:,}" if found < expected else "more"
        raise UserError(
            f"{place}: expected {header + expected:,} bytes by its header, found {shown}; download it again"
        )
