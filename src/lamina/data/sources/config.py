"""Section `source` of params.yaml; needs no code that reads or draws pictures."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, Strict, ValidationInfo, field_validator, model_validator

from lamina.config import Config, shown
from lamina.data.sources import urls
from lamina.errors import UserError
from lamina.mirror import MIRROR, mirrored_path

Strings: TypeAlias = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(False)]

DIGEST: Final = "[0-9a-fA-F]{64}"

# keys that each kind of source does not use
UNUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "smear": ("location", "mirrored", "mirrors", "sha256", "members", "boxes", "target", "splits"),
    "folder": ("mirrors", "sha256", "splits"),
    "archive": ("mirrors", "splits"),
    "url": ("splits",),
    "tfds": ("mirrors", "sha256", "members", "boxes", "target"),
    "sklearn": ("mirrors", "sha256", "members", "boxes", "target", "splits"),
}
CHOOSE: Final = "choose"  # value of `labels` that `lamina new` writes where it cannot know
DIGITS: Final = "digits"  # the only `location` of kind sklearn


class MirroredConfig(Config):
    """Key `source.mirrored`: the same pictures, or others of their kind, as a file that someone may have.

    Attributes:
        path: File or folder in the folder that LAMINA_MIRROR names.
        sha256: Digest of the file.
        members: As in `source`.
        labels: As in `source`; null: as there.
        boxes: As in `source`; null: as there.
    """

    path: str = Field(min_length=1)
    sha256: str | None = None
    members: str | None = None
    labels: str | None = Field(None, min_length=1)
    boxes: str | None = Field(None, min_length=1)

    @field_validator("sha256", "members")
    @classmethod
    def _is_digest(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(DIGEST, value):
            raise ValueError("expected 64 hexadecimal digits, or null")
        return value and value.lower()

    @model_validator(mode="after")
    def _is_checked(self) -> "MirroredConfig":
        if self.sha256 is None and self.members is None:
            raise ValueError("expected sha256 or members, which its content is checked with")
        if PurePath(self.path).is_absolute() or ".." in PurePath(self.path).parts:
            raise ValueError(f"path: expected a path inside the folder that {MIRROR} names, got {shown(self.path)}")
        return self


class SourceConfig(Config):
    """Section `source` of params.yaml.

    Attributes:
        content: What the source holds: `pictures` or `texts`.
        kind: Where the pictures come from: drawn (`smear`), a folder, an archive, the web (`url`), TensorFlow
            Datasets (`tfds`), or scikit-learn (`sklearn`).
        location: Path relative to the system's folder; one or several URLs; for tfds NAME, with an optional /CONFIG
            and :VERSION; or for sklearn `digits`.
        mirrors: Other URLs of the same files.
        sha256: Digest of the archive, or of each file at `location`.
        members: SHA-256 of the listing of all files that are read (`lamina.data.sources.listing`).
        mirrored: What is read instead if the folder that LAMINA_MIRROR names has it.
        labels: `folder`, `folder 1` and so on (`lamina.data.sources.labels.find_labels`), `idx` (the labels of IDX
            files), `none`, or the name of a table in the source. For tfds `folder` (the dataset's main label), the
            name of a label, or `none`. `choose`: not chosen yet, which is refused.
        boxes: Folder of Pascal VOC XML files in the source.
        target: Name of the objects whose boxes are read; null: all.
        origin: Regular expression with a group `origin`, searched in the name of each file.
        classes: The only labels that the filter keeps; null: all.
        pictures: Number of drawn pictures, for smear.
        splits: Splits to read, or parts of them as `train[:10%]`, for tfds; null: all.
        corrections: Path, relative to the system's folder, of a table of labels that replace those of the source
            (`lamina.data.sources.corrections`).
        metadata: Path, relative to the system's folder, of a table with further columns
            (`lamina.data.sources.metadata`).
    """

    kind: Literal["smear", "folder", "archive", "url", "tfds", "sklearn"]
    content: Literal["pictures", "texts"] = "pictures"
    location: str | tuple[str, ...] | None = None
    mirrors: Strings = ()
    sha256: str | tuple[str, ...] | None = None
    members: str | None = None
    mirrored: MirroredConfig | None = None
    labels: str = Field("folder", min_length=1)
    boxes: str | None = Field(None, min_length=1)
    origin: str | None = None
    classes: Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | None = None
    target: str | None = Field(None, min_length=1)
    pictures: int = Field(600, ge=1, le=1_000_000)
    splits: Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | None = None
    corrections: str | None = Field(None, min_length=1)
    metadata: str | None = Field(None, min_length=1)

    @field_validator("classes")
    @classmethod
    def _are_composed(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return value and tuple(unicodedata.normalize("NFC", name) for name in value)  # as labels are

    @field_validator("location", mode="before")
    @classmethod
    def _is_place(cls, value: Any) -> Any:
        return _strings(value, "source.location: expected a path, or for kind: url a URL or a list of them")

    @field_validator("sha256", "members", mode="before")
    @classmethod
    def _is_digest(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = f"source.{info.field_name}: expected 64 hexadecimal digits, or null"
        digests = _strings(value, wanted)
        for digest in as_tuple(digests):
            if not re.fullmatch(DIGEST, digest):
                raise UserError(f"params.yaml: {wanted}, got {shown(digest)}")
        return tuple(map(str.lower, digests)) if isinstance(digests, tuple) else digests and digests.lower()

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
        problem = _conflict(self)
        if problem:
            raise UserError(f"params.yaml: {problem}")
        return self

    @property
    def locations(self) -> tuple[str, ...]:
        """`location` as a tuple."""
        return as_tuple(self.location)

    @property
    def digests(self) -> tuple[str | None, ...]:
        """`sha256` of each location; None if it is not given."""
        return as_tuple(self.sha256) or (None,) * len(self.locations)

    def or_mirrored(self) -> "SourceConfig":
        """Return the source that `mirrored` describes if the folder that LAMINA_MIRROR names has it, or else itself."""
        mirrored = self.mirrored
        path = mirrored_path(mirrored.path) if mirrored else None
        if mirrored is None or path is None:
            return self
        given = {key: value for key in ("labels", "boxes") if (value := getattr(mirrored, key)) is not None}
        kept = self.model_dump(
            include={"content", "labels", "boxes", "origin", "classes", "target", "corrections", "metadata"}
        )
        place = {"kind": "folder" if path.is_dir() else "archive", "location": str(path)}
        return SourceConfig(**kept | place | given, sha256=mirrored.sha256, members=mirrored.members)


def as_tuple(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return one, several or no strings as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _strings(value: Any, expected: str) -> str | tuple[str, ...] | None:
    """A string, a list of strings as a tuple, or None; messages show no URLs, which may contain a password."""
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        if not isinstance(item, str) and not (item is None and item is value):
            raise UserError(f"params.yaml: {expected}, got {shown(item)}")
    if "" in items or not items:
        raise UserError(f"params.yaml: {expected}, got nothing")
    return value if isinstance(value, str | None) else tuple(items)


def _conflict(config: SourceConfig) -> str | None:
    """What is wrong between the keys of the section, in words for an error message."""
    if config.kind in ("folder", "archive") and urls.is_url(str(config.location)):
        return f"source.location is a URL, but source.kind is {config.kind}; set kind: url"
    unused = next((key for key in UNUSED[config.kind] if getattr(config, key) not in (None, ())), None)
    if unused:
        return f"source.{unused} is set, but kind: {config.kind} does not use it; remove it"
    if config.labels == CHOOSE:
        return "source.labels is 'choose': its comment says what was found; set it to one of the values there"
    if config.classes is not None and config.labels == "none":
        return "source.classes is set, but source.labels is none, so that no picture has a class; set it to null"
    if config.corrections is not None and config.labels == "none":
        return "source.corrections is set, but source.labels is none, so that no picture has a label; set it to null"
    if config.kind in ("smear", "sklearn") and config.labels not in ("folder", "none"):
        pictures = f"{config.kind} pictures are labeled by folder"
        return f"source.labels is {config.labels!r}, but {pictures}; set folder or none"
    if config.kind == "sklearn" and config.location != DIGITS:
        return f"source.location is {config.location!r}, but kind: sklearn has one set of pictures; set it to {DIGITS}"
    if config.kind != "smear" and config.location is None:
        return f"source.location is null; name the {config.kind}"
    if config.kind != "url" and isinstance(config.location, tuple):
        return f"source.location is a list, but only kind: url reads several files; name one {config.kind}"
    if config.target is not None and config.boxes is None:
        return f"source.target is {config.target!r}, but source.boxes is null; name their folder, or remove the target"
    if config.content == "texts" and config.kind in ("smear", "sklearn"):
        pictures = f"kind: {config.kind} has pictures"
        return f"source.content is texts, but {pictures}; set content: pictures, or change the kind"
    if config.content == "texts" and config.labels == "idx":
        return "source.labels is 'idx', but IDX files hold pictures; set folder, or the name of a CSV or TSV"
    if config.content == "texts" and (config.boxes or config.target):
        return "source.boxes or target is set, but texts have no boxes; set them to null"
    if config.kind == "url":
        return _url_conflict(config)
    if config.kind == "archive" and isinstance(config.sha256, tuple):
        return "source.sha256 is a list, but an archive is one file; give one digest"
    return None


def _url_conflict(config: SourceConfig) -> str | None:
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
        return "source.sha256 is null, but downloaded files must be checked; set it, or source.members"
    if len(config.digests) != len(locations):
        return f"source.sha256 has {len(config.digests)} digests, source.location {len(locations)} files; give one each"
    single = next((mirror for mirror in config.mirrors if not mirror.endswith("/")), None)
    if single is not None and len(locations) > 1:
        return f"source.mirrors: {urls.shown(single)} is one file, source.location names {len(locations)}; end it in /"
    return None
