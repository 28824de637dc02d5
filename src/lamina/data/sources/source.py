"""Opens a source of any kind and yields its pictures one by one."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from lamina.data.sources import digits
from lamina.data.sources.archive import open_archive
from lamina.data.sources.boxes import UNSURE, find_boxes, read_annotation, shown_boxes
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.folder import open_folder
from lamina.data.sources.idx import IDX, expand, find_idx, read_idx_labels
from lamina.data.sources.labels import broken_note, find_labels, other_readings
from lamina.data.sources.layout import Labels
from lamina.data.sources.listing import listing_problem, used_names, with_digests
from lamina.data.sources.members import Box, Members, Picture, passed_over, some, suggestion
from lamina.data.sources.text_table import find_text_table
from lamina.errors import UserError
from lamina.files import file_digest


@dataclass(frozen=True, kw_only=True)
class Source:
    """An open source.

    Attributes:
        pictures: Pictures sorted by name, each read when it is requested.
        total: Number of pictures.
        notes: What users must know about the source, in words; complete when all pictures are read.
    """

    pictures: Iterator[Picture]
    total: int
    notes: list[str] = field(default_factory=list)


Opener = Callable[[SourceConfig, int, Path], AbstractContextManager[Source]]


def open_source(config: SourceConfig, *, seed: int, system: Path) -> AbstractContextManager[Source]:
    """Open a source.

    Args:
        config: Section `source` of params.yaml.
        seed: Seed of drawn pictures.
        system: Folder that `location` is relative to; a compressed tar is unpacked to a temporary file there.

    Raises:
        UserError: Here or while pictures are read, if the source is missing, broken, or not as configured.
    """
    found = config.or_mirrored()
    return OPENERS[found.kind](found, seed, system)


@contextmanager
def open_members(path: Path, *, where: str, spool: Path) -> Iterator[Members]:
    """Open the files of a folder or an archive.

    Args:
        path: The folder or archive.
        where: Name of the source in error messages.
        spool: As in `open_archive`.

    Raises:
        UserError: If it does not exist; names the nearest file.
    """
    if not path.exists():
        raise UserError(f"{where}: not found{_nearest(path)}")
    with open_folder(path, where=where) if path.is_dir() else open_archive(path, where=where, spool=spool) as members:
        yield members


def _nearest(path: Path) -> str:
    for folder in path.absolute().parents:
        if folder.is_dir():
            missing = path.absolute().relative_to(folder).parts[0]
            return suggestion(missing, sorted(one.name for one in folder.iterdir() if not one.name.startswith(".")))
    return ""


@contextmanager
def _located(config: SourceConfig, seed: int, system: Path) -> Iterator[Source]:
    (location,) = config.locations
    path = system / location
    if not path.exists():
        raise UserError(
            f"source.location: {location}: not found; correct it in params.yaml, seen from the system's folder, "
            f"or bring the {config.kind} back{_nearest(path)}"
        )
    if path.is_dir() != (config.kind == "folder"):
        found = "folder" if path.is_dir() else "file"
        raise UserError(f"{location}: source.kind is {config.kind}, but this is a {found}; correct source.kind")
    (digest,) = config.digests
    if digest and (found_digest := file_digest(path)) != digest:
        raise UserError(
            f"{location}: sha256 in section source expects {digest}, got {found_digest}; "
            "download the file again, or correct the digest"
        )
    with open_members(path, where=location, spool=system) as members:
        yield _source(members, config, system, "restore the original files")


@contextmanager
def _fetched(config: SourceConfig, seed: int, system: Path) -> Iterator[Source]:
    from lamina.data.sources.fetched import open_fetched, remedy  # network code is needed only here

    with open_fetched(config, system) as members:
        yield _source(members, config, system, remedy(system))


def _source(members: Members, config: SourceConfig, system: Path, remedy: str) -> Source:
    """The pictures of some members. With `source.members` all read files are checked after the last one.

    remedy: what to do if they differ.
    """
    members, expected = replace(members, content=config.content), config.members
    watched, digests = with_digests(members)
    found = _items(members if expected is None else watched, config)
    found.notes[:0] = filter(None, [passed_over(members, used_names(members, config))])
    if expected is None:
        return found

    def checked() -> Iterator[Picture]:
        yield from found.pictures
        problem = listing_problem(digests, expected, system)
        if problem:
            raise UserError(f"{members.where}: {problem}; {remedy}, or correct source.members")

    return replace(found, pictures=checked())


def _items(members: Members, config: SourceConfig) -> Source:
    """Pictures or texts: one per file, or one per row of the table that `source.labels` names if it has texts."""
    table = find_text_table(members, config)
    if table is not None:
        pictures = table.read(_matching_origin(config.origin, members.where))
        return Source(pictures=pictures, total=table.rows, notes=broken_note(table.content, table.name))
    files = find_idx(members) if config.content == "pictures" else ()
    expanded = expand(members, files)
    labels = read_idx_labels(members, files) if config.labels == IDX else find_labels(expanded, config.labels)
    notes = [f"warning: {other}" for other in other_readings(expanded, config.labels)]
    return Source(pictures=_read(expanded, config, labels, notes), total=len(expanded.pictures), notes=notes)


def _read(
    members: Members, config: SourceConfig, labels: Callable[[str], Labels], notes: list[str]
) -> Iterator[Picture]:
    """Check boxes and origins by names, then read picture by picture."""
    files = find_boxes(members, config.boxes) if config.boxes else {}
    find_origin = _origins(members.pictures, config.origin, members.where)

    def read() -> Iterator[Picture]:
        unsure = 0
        for name in members.pictures:
            encoded, boxes = members.read(name), tuple[Box, ...]()
            if name in files:
                boxes, is_sure = shown_boxes(read_annotation(members, files[name]), encoded, config.target)
                unsure += not is_sure
            yield Picture(name=name, encoded=encoded, labels=labels(name), origin=find_origin(name), boxes=boxes)
        if unsure:
            notes.append(f"warning: of {unsure} {UNSURE}")

    return read()


def _origins(names: tuple[str, ...], pattern: str | None, where: str) -> Callable[[str], str]:
    if pattern is None:
        return lambda name: name
    missed = [name for name in names if not _origin(name, pattern)]
    if not missed:
        return lambda name: _origin(name, pattern)
    if "/" in pattern and all(_origin(name, pattern, whole=True) for name in names):
        return lambda name: _origin(name, pattern, whole=True)
    raise UserError(
        f"{where}: source.origin {pattern!r} finds no origin in {len(missed)} of {len(names)} file names "
        f"({some(missed)}); correct the pattern: one with a / in it may match their folders, too"
    )


def _matching_origin(pattern: str | None, where: str) -> Callable[[str], str]:
    """The function from one name to its origin. It raises UserError for a name without one."""
    return lambda name: _origins((name,), pattern, where)(name)


def _origin(name: str, pattern: str, *, whole: bool = False) -> str:
    """What the pattern finds in a file's name, or in the whole name, with its folders."""
    found = re.search(pattern, name if whole else name.rpartition("/")[2])
    return (found["origin"] or "") if found else ""


@contextmanager
def _smear(config: SourceConfig, seed: int, system: Path) -> Iterator[Source]:
    from lamina.data.sources import smear  # drawing needs OpenCV, which reading does not

    yield _made(smear.pictures(seed, config.pictures), config.pictures, config)


@contextmanager
def _sklearn(config: SourceConfig, seed: int, system: Path) -> Iterator[Source]:
    yield _made(digits.pictures(), digits.COUNT, config)


def _made(pictures: Iterator[Picture], total: int, config: SourceConfig) -> Source:
    """Pictures that come with label and origin, as configured."""
    find_origin = _matching_origin(config.origin, config.kind)

    def configured(picture: Picture) -> Picture:
        origin = find_origin(picture.name) if config.origin else picture.origin
        return replace(picture, origin=origin, labels=() if config.labels == "none" else picture.labels)

    return Source(pictures=map(configured, pictures), total=total)


@contextmanager
def _tfds(config: SourceConfig, seed: int, system: Path) -> Iterator[Source]:
    from lamina.data.sources import tfds  # imports TensorFlow when it reads

    dataset = tfds.open_dataset(config.locations[0], config.labels, config.content)
    find_origin = _matching_origin(config.origin, f"tfds:{config.location}") if config.origin else None
    pictures, total = tfds.read_pictures(dataset, config.labels, config.splits, find_origin, config.content)
    yield Source(pictures=pictures, total=total)


OPENERS: Final[Mapping[str, Opener]] = {
    "smear": _smear,
    "folder": _located,
    "archive": _located,
    "url": _fetched,
    "tfds": _tfds,
    "sklearn": _sklearn,
}
