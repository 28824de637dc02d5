"""Section `source` of params.yaml, without the code that reads or draws pictures."""

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, Strict, ValidationInfo, field_validator, model_validator

from lamina.config import Config, shown
from lamina.data.sources import urls
from lamina.errors import UserError

Strings: TypeAlias = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(False)]


class SourceConfig(Config):
    """Section `source` of params.yaml.

    content: what the source holds, `pictures` or `texts`; location: path, relative to the system's folder, or URL, or several URLs; mirrors: other addresses of the
    same files; sha256: of the archive, or of each file at `location`; members: SHA-256 of the listing of what is
    read (`lamina.data.sources.listing`); watch: the path that DVC watches, so that a changed
    source is read again; labels: `folder`, `none`, or a CSV inside the source; boxes: a folder of Pascal
    VOC XML inside the source, and target: the name of the object in it that is the picture's subject (null:
    every object); origin: a pattern searched in each file's name; classes: the only labels that the filter
    keeps; pictures: how many are drawn, where kind is smear. Where kind is tfds, location is NAME, with /CONFIG
    and :VERSION where wanted; labels: `folder` (the dataset's main label), a label's name, or `none`; and splits:
    those to read (null: all).
    """

    kind: Literal["smear", "folder", "archive", "url", "tfds"]
    content: Literal["pictures", "texts"] = "pictures"
    location: str | tuple[str, ...] | None = None
    mirrors: Strings = ()
    sha256: str | tuple[str, ...] | None = None
    members: str | None = None
    labels: str = Field("folder", min_length=1)
    boxes: str | None = Field(None, min_length=1)
    origin: str | None = None
    classes: Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | None = None
    watch: str = Field(min_length=1)
    target: str | None = Field(None, min_length=1)
    pictures: int = Field(600, ge=1, le=1_000_000)
    splits: Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | None = None

    @field_validator("location", mode="before")
    @classmethod
    def _is_place(cls, value: Any) -> Any:
        return _strings(value, "source.location: expected a path, or for kind: url an address or a list of them")

    @field_validator("sha256", "members", mode="before")
    @classmethod
    def _is_digest(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = f"source.{info.field_name}: expected 64 hexadecimal digits, or null"
        told = _strings(value, wanted)
        for digest in as_tuple(told):
            if not re.fullmatch("[0-9a-fA-F]{64}", digest):
                raise UserError(f"params.yaml: {wanted}, got {shown(digest)}")
        return tuple(digest.lower() for digest in told) if isinstance(told, tuple) else told and told.lower()

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
        problem = _disagreement(self)
        if problem:
            raise UserError(f"params.yaml: {problem}")
        return self

    @property
    def locations(self) -> tuple[str, ...]:
        """`location` as a tuple, be it one, several or none."""
        return as_tuple(self.location)

    @property
    def digests(self) -> tuple[str | None, ...]:
        """`sha256` of each of the locations, None where it is not told."""
        return as_tuple(self.sha256) or (None,) * len(self.locations)


def as_tuple(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """What may be one, several or none, as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _strings(value: Any, expected: str) -> str | tuple[str, ...] | None:
    """A string, a list of them as a tuple, or None; addresses are not shown, since they may hold a password."""
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        if not isinstance(item, str) and not (item is None and item is value):
            raise UserError(f"params.yaml: {expected}, got {shown(item)}")
    if "" in items or not items:
        raise UserError(f"params.yaml: {expected}, got nothing")
    return value if isinstance(value, str | None) else tuple(items)


def _disagreement(config: SourceConfig) -> str | None:
    """What two keys of the section say against each other."""
    if config.classes is not None and config.labels == "none":
        return "source.classes is set, but source.labels is none, so that no picture is of a class; set it to null"
    if config.splits is not None and config.kind != "tfds":
        return f"source.splits is set, but a source of kind: {config.kind} has none; set it to null"
    if config.content == "texts":
        problem = _texts_disagreement(config)
        if problem:
            return problem
    if config.kind == "smear":
        keys = ("location", "sha256", "members", "boxes", "target")
        told = [key for key in keys if getattr(config, key) is not None]
        if told:
            return f"source.{told[0]} is set, but kind: smear draws its pictures; set it to null, or change the kind"
        if config.labels not in ("folder", "none"):
            return f"source.labels is {config.labels!r}, but smear pictures are labeled by folder; set folder or none"
    elif config.location is None:
        return f"source.location is null; name the {config.kind}"
    elif config.target is not None and config.boxes is None:
        return f"source.target is {config.target!r}, but source.boxes is null; name their folder, or drop the target"
    elif config.kind == "url":
        return _url_disagreement(config)
    else:
        problem = _tfds_disagreement(config) if config.kind == "tfds" else _path_disagreement(config)
        if problem:
            return problem
    return "source.mirrors is set, but only kind: url fetches; set it to []" if config.mirrors else None


def _texts_disagreement(config: SourceConfig) -> str | None:
    if config.kind == "smear":
        return "source.content is texts, but kind: smear draws pictures; set content: pictures, or change the kind"
    given = [key for key in ("boxes", "target") if getattr(config, key) is not None]
    return f"source.{given[0]} is set, but texts have no boxes; set it to null" if given else None


def _tfds_disagreement(config: SourceConfig) -> str | None:
    if isinstance(config.location, tuple):
        return "source.location is a list, but only kind: url reads several files; name one dataset"
    told = [key for key in ("sha256", "members", "boxes", "target") if getattr(config, key) is not None]
    return f"source.{told[0]} is set, but is not read with kind: tfds; set it to null" if told else None


def _path_disagreement(config: SourceConfig) -> str | None:
    if isinstance(config.location, tuple):
        return f"source.location is a list, but only kind: url reads several files; name the {config.kind}"
    if urls.is_url(str(config.location)):
        return f"source.location is an address, but source.kind is {config.kind}; set kind: url"
    if config.watch != config.location:
        return f"source.watch is {config.watch!r}, but must equal source.location {config.location!r}: DVC watches it"
    if config.sha256 is not None and config.kind == "folder":
        return "source.sha256 is set, but only an archive has one; set it to null"
    if isinstance(config.sha256, tuple):
        return "source.sha256 is a list, but an archive is one file; give its digest alone"
    return None


def _url_disagreement(config: SourceConfig) -> str | None:
    locations = config.locations
    for key, addresses in (("location", locations), ("mirrors", config.mirrors)):
        for address in addresses:
            problem = urls.fault(address, folder=key == "mirrors")
            if problem:
                return f"source.{key}: {urls.shown(address)} {problem}"
    names = [urls.file_name(address) for address in locations]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f"source.location names two files {twice!r}; give them in two systems, or pack them together"
    if config.sha256 is None and config.members is None:
        return "source.sha256 is null, but what is fetched must be checked; give it, or source.members"
    if len(config.digests) != len(locations):
        return f"source.sha256 has {len(config.digests)} digests, source.location {len(locations)} files; give one each"
    single = next((mirror for mirror in config.mirrors if not mirror.endswith("/")), None)
    if single is not None and len(locations) > 1:
        return f"source.mirrors: {urls.shown(single)} is one file, source.location names {len(locations)}; end it in /"
    if urls.is_url(config.watch):
        return "source.watch is an address, but DVC watches a path; name a file that is there, such as the package's"
    return None
