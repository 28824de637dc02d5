"""A look into a source of any kind, so that a system can be set up for it."""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lamina.commands.look_classes import untested
from lamina.commands.look_tables import NO_LABELS, survey_named, survey_text_table, text_tables
from lamina.data.sources import digits
from lamina.data.sources.archive import NoArchiveError
from lamina.data.sources.config import DIGITS, SourceConfig
from lamina.data.sources.fetch import Session
from lamina.data.sources.fetched import DOWNLOADS, fits_digest, obtain
from lamina.data.sources.idx import IDX, expand, find_idx, read_idx_labels
from lamina.data.sources.labels import find_labels
from lamina.data.sources.layout import Labels, Layout, find_layout, layout_of
from lamina.data.sources.listing import used_names
from lamina.data.sources.members import PICTURE_SUFFIXES, Members, Picture, decode_text, passed_over, some
from lamina.data.sources.places import clash
from lamina.data.sources.source import open_members
from lamina.data.sources.survey import (
    TABLE_SUFFIXES,
    BoxSurvey,
    LabelSurvey,
    OriginSurvey,
    PixelSurvey,
    count_labels,
    grey_classes,
    sample,
    survey_boxes,
    survey_folders,
    survey_labels,
    survey_origins,
    survey_pictures,
    survey_pixels,
)
from lamina.data.sources.urls import fault, file_name, is_url, shown
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.progress import progress
from lamina.text import quoted

TFDS: Final = "tfds:"
SKLEARN: Final = "sklearn:"
TRAIN_IMAGES, TEST_IMAGES, TEST_NAMES = "train-images", "t10k-images", "^t10k"  # IDX files of sets like MNIST
TEXT_SUFFIX: Final = ".txt"
FEW_PICTURES: Final = 10  # texts for each picture, from which on these belong to the texts, and not the texts to them
TEXTS_REMEDY: Final = "put .txt files into one folder per class, or add a CSV or TSV file with columns text,label"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a source is, for the section `source` of params.yaml.

    Attributes:
        kind: `source.kind`.
        location: `source.location`; a path is relative to the system's folder.
        sha256: `source.sha256`.
        outside: whether it is a path outside the system's repository.
    """

    kind: str
    location: str
    sha256: str | None = None
    outside: bool = False


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found in a source of pictures.

    Attributes:
        place: where it is.
        name: its name for people.
        pictures: how many there are.
        labels: how they are labeled.
        pixels: what a sample of them looks like.
        boxes: boxes around their subjects; None where there are none.
        origins: pattern that groups copies of the same picture; None where there is none.
        splits: splits of a dataset, with their numbers of pictures.
        upright: whether they show something else when they are turned or mirrored, as digits do.
        test_pattern: pattern for the names of a published test part; None where there is none.
        notes: what users must know, in words.
    """

    place: Place
    name: str
    pictures: int
    labels: LabelSurvey
    pixels: PixelSurvey
    boxes: BoxSurvey | None = None
    origins: OriginSurvey | None = None
    splits: Mapping[str, int] | None = None
    upright: bool = False
    test_pattern: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_labeled(self) -> bool:
        """Whether there are classes to learn, or other targets."""
        return self.labels.labels != NO_LABELS or self.labels.targets is not None


@dataclass(frozen=True, kw_only=True)
class TextLook:
    """What was found in a source of texts.

    Attributes:
        place: where it is.
        name: its name for people.
        texts: how many there are.
        labels: how they are labeled.
        test_pattern: pattern for the names of a published test part; None where there is none.
        notes: what users must know, in words.
    """

    place: Place
    name: str
    texts: int
    labels: LabelSurvey
    test_pattern: str | None
    notes: tuple[str, ...] = ()


def look_into(source: str, folder: Path, sha256: str | None = None) -> Look | TextLook:
    """Look into the source of a new system.

    Args:
        source: path of a folder or an archive; URL of an archive, which is downloaded; `tfds:` and the name of a
            dataset; or `sklearn:digits`.
        folder: folder of the system.
        sha256: the digest that the archive must have.

    Returns:
        What was found: pictures or, where there are none, texts.

    Raises:
        UserError: the source cannot be used.
    """
    if source.startswith((TFDS, SKLEARN)):
        if sha256 is not None:
            raise UserError(f"--sha256: {source} is not a file and has none; leave it out")
        return _look_into_digits(source) if source.startswith(SKLEARN) else _look_into_dataset(source)
    if not is_url(source):
        return _look_into_files(*_found(source, folder, sha256), folder, where=source)
    path, place = _fetched(source, folder, sha256)
    try:
        return _look_into_files(path, place, folder, where=shown(source))
    except NoArchiveError:
        if sha256 is None and path.is_relative_to(folder / DOWNLOADS):  # not in LAMINA_MIRROR
            path.unlink()  # else another attempt would take it again
        raise


def above(folder: Path, marker: str) -> Path | None:
    """Find the nearest folder, from `folder` upwards, that holds `marker`; None where there is none."""
    folder = folder.resolve()
    return next((parent for parent in (folder, *folder.parents) if (parent / marker).exists()), None)


def repository(folder: Path) -> Path:
    """Root of the repository that holds a system, or will hold it: of DVC, else of git, else its own folder."""
    return above(folder, ".dvc") or above(folder, ".git") or folder.resolve()


def _found(source: str, folder: Path, sha256: str | None) -> tuple[Path, Place]:
    """A folder or an archive that is here."""
    path = Path(source)
    if sha256 is not None and path.is_dir():
        raise UserError(f"--sha256: {source} is a folder, which has none; leave it out")
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        raise UserError(f"{source}: is a table; put it into a folder of its own, and name that folder")
    if not folder.resolve().is_relative_to(path.resolve()) and (among_results := clash(path, folder)):
        raise UserError(f"{source}: {among_results}")
    problem = fits_digest(sha256, "--sha256")(path) if path.exists() else None
    if problem:
        raise UserError(f"{source}: {problem}; is it the right file?")
    location = os.path.relpath(path.resolve(), folder.resolve())
    if not location.isprintable():
        raise UserError(f"{location!a}: not a printable name; rename the source")
    kind = "folder" if path.is_dir() else "archive"
    outside = not path.resolve().is_relative_to(repository(folder))
    return path, Place(kind=kind, location=location, sha256=sha256, outside=outside)


def _fetched(url: str, folder: Path, sha256: str | None) -> tuple[Path, Place]:
    """An archive on the web, downloaded to the place where the stage `download` looks for it."""
    problem = fault(url)
    if problem:
        raise UserError(f"{shown(url)} {problem}")
    if file_name(url).lower().endswith(TABLE_SUFFIXES):
        raise UserError(f"{shown(url)}: is a table; download it into a folder of its own, and name that folder")
    with Session() as session:
        path = obtain(url, (), fits_digest(sha256, "--sha256"), folder / DOWNLOADS, session=session).path
    return path, Place(kind="url", location=url, sha256=file_digest(path))


def _look_into_files(path: Path, place: Place, folder: Path, *, where: str) -> Look | TextLook:
    """The path must not hold the folder. where: how messages name the source."""
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise UserError(
            f"{folder}: is inside the source {where}, which would then hold its own results; choose another folder"
        )
    spool = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    name = posixpath.basename(re.sub(r"/+$|\?\.\.\.$", "", where))
    with open_members(path, where=where, spool=spool) as packed:
        files = find_idx(packed)
        members = expand(packed, files)
        if _holds_texts(members):
            return _look_into_texts(members, place, name)
        found = count_labels(IDX, map(read_idx_labels(packed, files), members.pictures)) if files else None
        labels = found or survey_labels(members)
        if labels is None or not (labels.classes or labels.choices or labels.targets):
            unlabeled = count_labels(NO_LABELS, (() for _ in members.pictures))
            labels = replace(unlabeled, notes=labels.notes if labels else ())
        if labels.labels == IDX:
            labels_of: Callable[[str], Labels] = read_idx_labels(packed, files)
        else:
            labels_of = find_labels(members, next(iter(labels.choices), labels.labels))
        boxes, layout = survey_boxes(members), find_layout(members)
        test_pattern = _test_images([file.name.removeprefix(members.top) for file in files]) or layout.test_pattern(
            members.pictures, labels_of
        )
        pixels = survey_pixels(((members.read(name), labels_of(name)) for name in sample(members.pictures)), where)
        _check_use(labels, pixels, where, "put them into one folder per class, or add a CSV with file,label")
        return Look(
            place=place,
            name=name,
            pictures=len(members.pictures),
            labels=labels,
            pixels=pixels,
            boxes=boxes,
            origins=survey_origins(members.pictures, len(labels.classes)),
            upright=bool(files),
            test_pattern=test_pattern,
            notes=(
                *_notes(packed, labels, layout, boxes, pixels),
                *untested(members, labels_of, labels, test_pattern),
            ),
        )


def _notes(
    members: Members,
    labels: LabelSurvey,
    layout: Layout | None,
    boxes: BoxSurvey | None = None,
    pixels: PixelSurvey | None = None,
) -> tuple[str, ...]:
    """What users must know about a source, a line each."""
    by_folder = next(iter(labels.choices), labels.labels)
    found = {"labels": by_folder, "boxes": boxes.boxes if boxes else None, "content": members.content}
    config = SourceConfig.model_validate({"kind": "folder", "location": "here", **found})
    used = {*used_names(members, config), *([labels.targets.table] if labels.targets else [])}
    notes = [passed_over(members, used), *labels.notes]
    if layout and layout.parts:
        notes.append(f"the folders {some(sorted(layout.levels[layout.parts[0]]))} are parts, not classes")
    if len({name.casefold() for name in labels.classes}) < len(labels.classes):
        notes.append("warning: some classes differ only in upper and lower case; rename them if they are the same")
    if labels.targets:
        notes.append(
            f"{posixpath.basename(labels.targets.table)}: {labels.targets.found}: source.labels is none, and the "
            f"runs have the task {labels.targets.task}; if these are classes, put {members.content} into one folder "
            "per class"
        )
    if pixels and pixels.grey_tells_classes:
        notes.append(f"warning: color alone may tell classes apart: in a sample, grey are {grey_classes(pixels)}")
    return tuple(filter(None, notes))


def _test_images(names: list[str]) -> str | None:
    """The pattern of a test part, where there are files of images for training and for testing."""
    parts = (any(name.startswith(part) for name in names) for part in (TRAIN_IMAGES, TEST_IMAGES))
    return TEST_NAMES if all(parts) else None


def _check_use(labels: LabelSurvey, pixels: PixelSurvey, where: str, remedy: str) -> None:
    """Refuse pictures from which neither classes nor colors can be learned."""
    if labels.labels == NO_LABELS and not labels.targets and pixels.mostly_grey:
        raise UserError(
            f"{where}: nothing to learn: no labels found for its pictures, and {pixels.grey} of {pixels.readable} "
            f"in a sample are grey, without color to learn; {remedy}"
        )


def _look_into_digits(source: str) -> Look:
    if source != SKLEARN + DIGITS:
        raise UserError(f"{source}: scikit-learn ships one set of pictures that lamina reads; use {SKLEARN}{DIGITS}")
    labels, pixels = survey_pictures(digits.pictures(), digits.COUNT, "folder", source)
    place = Place(kind="sklearn", location=DIGITS)
    return Look(place=place, name=DIGITS, pictures=digits.COUNT, labels=labels, pixels=pixels, upright=True)


def _look_into_dataset(where: str) -> Look:
    """A dataset of TensorFlow Datasets; it is downloaded and prepared first."""
    from lamina.data.sources import tfds  # imports TensorFlow when it reads

    dataset = tfds.open_dataset(where.removeprefix(TFDS))
    labels = tfds.usual_label(dataset.features, where) if dataset.features.labels else NO_LABELS
    pictures, total = tfds.read_pictures(dataset, labels)
    watched = progress(pictures, what="look", unit="pictures", total=total)
    seen: dict[str, Labels] = {}
    counted, pixels = survey_pictures(_noted(watched, seen), total, labels, where)
    _check_use(counted, pixels, where, "choose a dataset with labels, or one in color")
    return Look(
        place=Place(kind="tfds", location=dataset.location),
        name=dataset.location,
        pictures=total,
        labels=counted,
        pixels=pixels,
        splits=dataset.splits,
        test_pattern=layout_of(seen).test_pattern(seen, lambda name: seen[name]),
    )


def _noted(pictures: Iterable[Picture], labels: dict[str, Labels]) -> Iterator[Picture]:
    """The same pictures; `labels` receives the labels of each by its name, which begins with its split."""
    for picture in pictures:
        labels[picture.name] = picture.labels
        yield picture


# ---- texts


def _holds_texts(members: Members) -> bool:
    """Whether a source has texts, .txt files or a table with columns text and label, and no pictures, or a logo.

    Raises:
        UserError: If it has tables, but neither pictures nor texts.
    """
    pictures, texts = sum(name.lower().endswith(PICTURE_SUFFIXES) for name in members.names), len(_texts(members))
    if pictures:
        return texts >= FEW_PICTURES * pictures
    tables = [name for name in members.names if name.lower().endswith(TABLE_SUFFIXES)]
    if not texts and not text_tables(members) and tables:
        first = decode_text(members.read(tables[0])).partition("\n")[0].strip()
        raise UserError(
            f"{members.where}: no pictures, and no texts: {TEXTS_REMEDY}; the first line of {tables[0]} is "
            f"{quoted(first)}: if it names such columns, rename them"
        )
    return bool(texts or text_tables(members))


def _look_into_texts(members: Members, place: Place, name: str) -> TextLook:
    """Count texts and labels.

    Raises:
        UserError: if there are fewer than two classes and no other targets, or a table is not valid.
    """
    tables, names = text_tables(members), _texts(members)
    members = replace(members, content="texts")
    if tables:
        labels, layout, test_pattern = survey_text_table(members, tables), None, None
    else:
        layout = find_layout(members)
        labels = survey_folders(members) or count_labels(NO_LABELS, (() for _ in names))
        labels_of = find_labels(members, next(iter(labels.choices), labels.labels))
        test_pattern = layout.test_pattern(names, labels_of)
    if len(labels.classes) < 2 and not labels.choices and not tables:
        labels = survey_named(members)
    if len(labels.classes) < 2 and not labels.choices and not labels.targets:
        raise UserError(f"{members.where}: nothing to learn: fewer than two labels found for its texts; {TEXTS_REMEDY}")
    texts = sum(labels.classes.values()) + labels.unlabeled + labels.ambiguous if tables else len(names)
    return TextLook(
        place=place,
        name=name,
        texts=texts,
        labels=labels,
        test_pattern=test_pattern,
        notes=_notes(members, labels, layout),
    )


def _texts(members: Members) -> list[str]:
    return [name for name in members.names if name.lower().endswith(TEXT_SUFFIX)]
