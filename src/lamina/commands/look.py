"""A look into a source, whatever its kind, so that a system can be set up for it."""

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lamina
from lamina.data.sources.copies import OriginSurvey, survey_origins
from lamina.data.sources.fetch import Session
from lamina.data.sources.fetched import DOWNLOADS, fits_digest, obtain
from lamina.data.sources.source import open_members
from lamina.data.sources.survey import (
    BoxSurvey,
    LabelSurvey,
    PixelSurvey,
    count_labels,
    sample,
    survey_boxes,
    survey_labels,
    survey_pictures,
    survey_pixels,
)
from lamina.data.sources.urls import fault, is_url, shown
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.progress import progress

PACKAGE: Final = Path(lamina.__file__).resolve().parent
TFDS: Final = "tfds:"
NO_LABELS: Final = "none"  # `source.labels` where none are told


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a source is, as the section `source` of params.yaml tells it."""

    kind: str
    location: str
    watch: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found in a source. name: what a person calls it; splits: of a dataset, with their pictures."""

    place: Place
    name: str
    pictures: int
    labels: LabelSurvey
    pixels: PixelSurvey
    boxes: BoxSurvey | None = None
    origins: OriginSurvey | None = None
    splits: Mapping[str, int] | None = None


def look_into(source: str, folder: Path, sha256: str | None = None) -> Look:
    """Look into what shall be the source of a system in `folder`.

    source: path of a folder or an archive, URL of an archive, which is fetched, or `tfds:` and a dataset's name;
    sha256: the digest that the archive must have. Raises UserError for what is no usable source.
    """
    if source.startswith(TFDS):
        if sha256 is not None:
            raise UserError(f"--sha256: {source} is no file and has none; leave it out")
        return _look_into_dataset(source.removeprefix(TFDS), folder)
    if is_url(source):
        path, place = _fetched(source, folder, sha256)
    else:
        path, place = _found(source, folder, sha256)
    return _look_into_files(path, place, folder, where=shown(source) if is_url(source) else source)


def package_watch(folder: Path) -> str:
    """What DVC watches where the source is no file: something that is there, and changes with the package alone."""
    return os.path.relpath(PACKAGE / "__init__.py", folder.resolve())


def above(folder: Path, marker: str) -> Path | None:
    """The nearest folder, from `folder` upwards, that holds `marker`."""
    folder = folder.resolve()
    return next((parent for parent in (folder, *folder.parents) if (parent / marker).exists()), None)


def _found(source: str, folder: Path, sha256: str | None) -> tuple[Path, Place]:
    """A folder or an archive that is here."""
    path = Path(source)
    if sha256 is not None and path.is_dir():
        raise UserError(f"--sha256: {source} is a folder, which has none; leave it out")
    problem = fits_digest(sha256, "--sha256")(path) if path.exists() else None
    if problem:
        raise UserError(f"{source}: {problem}; is it the right file?")
    location = _path(path, folder)
    kind = "folder" if path.is_dir() else "archive"
    return path, Place(kind=kind, location=location, watch=location, sha256=sha256)


def _path(source: Path, folder: Path) -> str:
    """A path as params.yaml shall name it: from the folder, unless the person gave an absolute one elsewhere."""
    root = above(folder, ".dvc") or above(folder, ".git") or folder.resolve()
    if source.is_absolute() and not source.resolve().is_relative_to(root):
        return str(source)
    return os.path.relpath(source.resolve(), folder.resolve())


def _fetched(url: str, folder: Path, sha256: str | None) -> tuple[Path, Place]:
    """An archive on the web, fetched to where the download stage will look for it."""
    problem = fault(url)
    if problem:
        raise UserError(f"{shown(url)} {problem}")
    with Session() as session:
        path = obtain(url, (), fits_digest(sha256, "--sha256"), folder / DOWNLOADS, session=session).path
    return path, Place(kind="url", location=url, watch=package_watch(folder), sha256=file_digest(path))


def _look_into_files(path: Path, place: Place, folder: Path, *, where: str) -> Look:
    """where: how messages name the source."""
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise UserError(
            f"{folder}: lies inside the source {where}, which would then hold what is made from it; choose another"
        )
    room = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    with open_members(path, where=where, spool=room) as members:
        labels = survey_labels(members)
        if labels is None or not labels.classes:
            labels = count_labels(NO_LABELS, (() for _ in members.pictures))
        pixels = survey_pixels((members.read(name) for name in sample(members.pictures)), where)
        _demand_something(labels, pixels, where, "put them into one folder per class, or add a CSV with file,label")
        return Look(
            place=place,
            name=posixpath.basename(re.sub(r"/+$|\?\.\.\.$", "", where)),
            pictures=len(members.pictures),
            labels=labels,
            pixels=pixels,
            boxes=survey_boxes(members),
            origins=survey_origins(members.pictures, len(labels.classes)),
        )


def _demand_something(labels: LabelSurvey, pixels: PixelSurvey, where: str, remedy: str) -> None:
    """Refuse pictures that teach neither classes nor colors."""
    if labels.labels == NO_LABELS and pixels.mostly_grey:
        raise UserError(
            f"{where}: nothing to learn: no labels found for its pictures, and {pixels.grey} of {pixels.readable} "
            f"looked at are grey, which teach no color; {remedy}"
        )


def _look_into_dataset(location: str, folder: Path) -> Look:
    """A dataset of TensorFlow Datasets, which is prepared first."""
    from lamina.data.sources import tfds  # imports TensorFlow when it reads

    where = TFDS + location
    dataset = tfds.open_dataset(location)
    labels = tfds.usual_label(dataset.features, where) if dataset.features.labels else NO_LABELS
    pictures, total = tfds.read_pictures(dataset, labels)
    watched = progress(pictures, what="look", unit="pictures", total=total)
    counted, pixels = survey_pictures(watched, total, labels, where)
    _demand_something(counted, pixels, where, "choose a dataset with labels, or one in color")
    return Look(
        place=Place(kind="tfds", location=dataset.location, watch=package_watch(folder)),
        name=dataset.location,
        pictures=total,
        labels=counted,
        pixels=pixels,
        splits=dataset.splits,
    )
