"""Section `source` of params.yaml, and its pictures, one after another, whatever kind of source it is."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, NoReturn

from pydantic import Field, Strict, field_validator, model_validator

from lamina.config import Config
from lamina.data.sources.archive import open_archive
from lamina.data.sources.boxes import find_boxes, read_boxes
from lamina.data.sources.folder import open_folder
from lamina.data.sources.labels import find_labels
from lamina.data.sources.members import Members, some, suggestion
from lamina.data.sources.picture import Picture
from lamina.errors import UserError
from lamina.files import file_digest


class SourceConfig(Config):
    """Section `source` of params.yaml.

    location: path, relative to the system's folder; watch: the path that DVC watches, so that a changed
    source is read again; labels: `folder`, `none`, or a CSV inside the source; boxes: a folder of Pascal
    VOC XML inside the source, and target: the name of the object in it that is the picture's subject (null:
    every object); origin: a pattern searched in each file's name; classes: the only labels that the filter
    keeps; pictures: how many are drawn, where kind is smear.
    """

    kind: Literal["smear", "folder", "archive", "url", "tfds"]
    location: str | None = Field(None, min_length=1)
    sha256: str | None = None
    labels: str = Field("folder", min_length=1)
    boxes: str | None = Field(None, min_length=1)
    origin: str | None = None
    classes: Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | None = None
    watch: str = Field(min_length=1)
    target: str | None = Field(None, min_length=1)
    pictures: int = Field(600, ge=1, le=1_000_000)

    @field_validator("sha256")
    @classmethod
    def _is_digest(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[0-9a-fA-F]{64}", value):
            raise ValueError("expected 64 hexadecimal digits, or null")
        return value and value.lower()

    @field_validator("origin")
    @classmethod
    def _names_origin(cls, value: str | None) -> str | None:
        try:
            groups = re.compile(value or "").groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if value is not None and "origin" not in groups:
            raise ValueError("expected a regular expression with a group (?P<origin>...), or null")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> "SourceConfig":
        if self.kind in ("url", "tfds"):
            refuse_remote(f"params.yaml: source.kind: {self.kind}")
        problem = _disagreement(self)
        if problem:
            raise UserError(f"params.yaml: {problem}")
        return self


def _disagreement(config: SourceConfig) -> str | None:
    """What two keys of the section say against each other."""
    if config.kind == "smear":
        told = [key for key in ("location", "sha256", "boxes", "target") if getattr(config, key) is not None]
        if told:
            return f"source.{told[0]} is set, but kind: smear draws its pictures; set it to null, or change the kind"
        if config.labels not in ("folder", "none"):
            return f"source.labels is {config.labels!r}, but smear pictures are labeled by folder; set folder or none"
        return None
    if config.location is None:
        return f"source.location is null; name the {config.kind}"
    if config.watch != config.location:
        return f"source.watch is {config.watch!r}, but must equal source.location {config.location!r}: DVC watches it"
    if config.sha256 is not None and config.kind == "folder":
        return "source.sha256 is set, but only an archive has one; set it to null"
    if config.target is not None and config.boxes is None:
        return f"source.target is {config.target!r}, but source.boxes is null; name their folder, or drop the target"
    return None


def refuse_remote(what: str) -> NoReturn:
    """Raise the UserError for a source that would have to be fetched."""
    raise UserError(f"{what} is not supported yet in this version; download the archive and use kind: archive")


@dataclass(frozen=True, kw_only=True)
class Source:
    """An open source: its pictures, sorted by name, read as they are asked for; and their number."""

    pictures: Iterator[Picture]
    total: int


Opener = Callable[[SourceConfig, int, Path], AbstractContextManager[Source]]


def open_source(config: SourceConfig, *, seed: int, system: Path) -> AbstractContextManager[Source]:
    """Open the source that the config names.

    seed: what drawn pictures derive from; system: the folder that `location` is relative to, where a
    compressed tar is unpacked to a file without a name. Raises UserError, here or while pictures are read.
    """
    return OPENERS[config.kind](config, seed, system)


@contextmanager
def open_members(path: Path, *, where: str, spool: Path) -> Iterator[Members]:
    """Open the files of a folder or an archive, whichever is there. spool: as in `open_archive`."""
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
    location = config.location or ""
    path = system / location
    if path.exists() and path.is_dir() != (config.kind == "folder"):
        found = "folder" if path.is_dir() else "file"
        raise UserError(f"{location}: source.kind is {config.kind}, but this is a {found}; mend source.kind")
    if config.sha256 and path.exists():
        _check_digest(path, location, config.sha256)
    with open_members(path, where=location, spool=system) as members:
        yield Source(pictures=_read(members, config), total=len(members.pictures))


def _check_digest(path: Path, where: str, expected: str) -> None:
    found = file_digest(path)
    if found != expected:
        raise UserError(
            f"{where}: source.sha256 expects {expected}, got {found}; download it again, or mend the digest"
        )


def _read(members: Members, config: SourceConfig) -> Iterator[Picture]:
    """Check everything that names alone can tell, then read picture by picture."""
    labels = find_labels(members, config.labels)
    boxes = find_boxes(members, config.boxes) if config.boxes else {}
    find_origin = _origins(members.pictures, config.origin, members.where)
    return (
        Picture(
            name=name,
            encoded=members.read(name),
            labels=labels(name),
            origin=find_origin(name),
            boxes=read_boxes(members, boxes[name], config.target) if name in boxes else (),
        )
        for name in members.pictures
    )


def _origins(names: tuple[str, ...], pattern: str | None, where: str) -> Callable[[str], str]:
    if pattern is None:
        return lambda name: name
    missed = [name for name in names if not _origin(name, pattern)]
    if missed:
        raise UserError(
            f"{where}: source.origin {pattern!r} finds no origin in {len(missed)} of {len(names)} file names "
            f"({some(missed)}); mend the pattern"
        )
    return lambda name: _origin(name, pattern)


def _origin(name: str, pattern: str) -> str:
    found = re.search(pattern, name.rpartition("/")[2])
    return (found["origin"] or "") if found else ""


@contextmanager
def _smear(config: SourceConfig, seed: int, system: Path) -> Iterator[Source]:
    from lamina.data.sources import smear  # drawing needs OpenCV, which reading does not

    yield Source(
        pictures=(_told(picture, config) for picture in smear.pictures(seed, config.pictures)), total=config.pictures
    )


def _told(picture: Picture, config: SourceConfig) -> Picture:
    origin = _origins((picture.name,), config.origin, "smear")(picture.name) if config.origin else picture.origin
    return replace(picture, origin=origin, labels=() if config.labels == "none" else picture.labels)


OPENERS: Final[Mapping[str, Opener]] = MappingProxyType({"smear": _smear, "folder": _located, "archive": _located})
