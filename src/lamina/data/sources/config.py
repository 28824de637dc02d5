"""Section `source` of params.yaml, without the code that reads or draws pictures."""

import re
from typing import Annotated, Literal, NoReturn

from pydantic import Field, Strict, field_validator, model_validator

from lamina.config import Config
from lamina.errors import UserError


class SourceConfig(Config):
    """Section `source` of params.yaml.

    location: path, relative to the system's folder; watch: the path that DVC watches, so that a changed
    source is read again; labels: `folder`, `none`, or a CSV inside the source; boxes: a folder of Pascal
    VOC XML inside the source, and target: the name of the object in it that is the picture's subject (null:
    every object); origin: a pattern searched in each file's name; classes: the only labels that the filter
    keeps; pictures: how many are drawn, where kind is smear. Where kind is tfds, location is NAME, with /CONFIG
    and :VERSION where wanted; labels: `folder` (the dataset's main label), a label's name, or `none`; and splits:
    those to read (null: all).
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
    splits: Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | None = None

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
        if self.kind == "url":
            refuse_remote(f"params.yaml: source.kind: {self.kind}")
        problem = _disagreement(self)
        if problem:
            raise UserError(f"params.yaml: {problem}")
        return self


def _disagreement(config: SourceConfig) -> str | None:
    """What two keys of the section say against each other."""
    if config.splits is not None and config.kind != "tfds":
        return f"source.splits is set, but a source of kind: {config.kind} has none; set it to null"
    if config.kind == "smear":
        told = [key for key in ("location", "sha256", "boxes", "target") if getattr(config, key) is not None]
        if told:
            return f"source.{told[0]} is set, but kind: smear draws its pictures; set it to null, or change the kind"
        if config.labels not in ("folder", "none"):
            return f"source.labels is {config.labels!r}, but smear pictures are labeled by folder; set folder or none"
        return None
    if config.location is None:
        return f"source.location is null; name the {config.kind}"
    if config.kind == "tfds":
        told = [key for key in ("sha256", "boxes", "target") if getattr(config, key) is not None]
        return f"source.{told[0]} is set, but is not read with kind: tfds; set it to null" if told else None
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
