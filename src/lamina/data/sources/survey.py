"""Surveys a new source: its pictures, labels and boxes, so that params.yaml can be written for it."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeVar

from lamina.data.decoding import UnreadableError, inspect_picture, open_picture
from lamina.data.sources.boxes import find_boxes, parse_voc
from lamina.data.sources.labels import Labels, folder_label, is_label_table, read_labels
from lamina.data.sources.members import Members, stem
from lamina.data.sources.picture import Picture
from lamina.errors import UserError

T = TypeVar("T")

SAMPLED: Final = 200  # pictures, and box files: estimates a share of one half within 7 % (95 %)
TABLE_SUFFIXES: Final = (".csv", ".tsv")


@dataclass(frozen=True, kw_only=True)
class LabelSurvey:
    """Labels of a source.

    Attributes:
        labels: Value for `source.labels`.
        classes: Pictures per class.
        unlabeled: Pictures without a label.
        ambiguous: Pictures with several labels.
    """

    labels: str
    classes: dict[str, int]
    unlabeled: int
    ambiguous: int


@dataclass(frozen=True, kw_only=True)
class BoxSurvey:
    """Boxes of a source.

    Attributes:
        boxes: Value for `source.boxes`.
        target: Value for `source.target`.
        pictures: Pictures with a box file.
        single: Whether most pictures have exactly one such box.
    """

    boxes: str
    target: str | None
    pictures: int
    single: bool


@dataclass(frozen=True, kw_only=True)
class PixelSurvey:
    """A sample of the pictures.

    Attributes:
        looked_at: Size of the sample.
        unreadable: Pictures that cannot be decoded.
        grey: Readable pictures without color.
        smallest_side: Smallest shorter side in pixels.
        median_side: Median of the shorter sides in pixels.
    """

    looked_at: int
    unreadable: int
    grey: int
    smallest_side: int
    median_side: int

    @property
    def readable(self) -> int:
        """Number of sampled pictures that can be decoded."""
        return self.looked_at - self.unreadable

    @property
    def mostly_grey(self) -> bool:
        """Whether more than half of the readable pictures are grey."""
        return self.grey > self.readable / 2


def survey_labels(members: Members) -> LabelSurvey | None:
    """Find the labels: a CSV with the columns file and label, or else at least two folders.

    Returns:
        The labels, or None if there are neither.

    Raises:
        UserError: If such a CSV is broken.
    """
    tables = [name for name in members.names if name.lower().endswith(TABLE_SUFFIXES)]
    found = {table: read_labels(members, table) for table in tables if is_label_table(members.read(table))}
    if found:
        table = max(sorted(found), key=lambda name: len(found[name]))
        return count_labels(table.removeprefix(members.top), (found[table].get(name, ()) for name in members.pictures))
    by_folder = count_labels("folder", (folder_label(members, name) for name in members.pictures))
    return by_folder if len(by_folder.classes) > 1 else None


def count_labels(labels: str, cells: Iterable[Labels]) -> LabelSurvey:
    """Count the labels of the pictures.

    Args:
        labels: The value of `source.labels`.
        cells: The labels of each picture.
    """
    kinds, classes = Counter[int](), Counter[str]()
    for cell in cells:
        kinds[min(len(cell), 2)] += 1
        if len(cell) == 1:
            classes[cell[0]] += 1
    return LabelSurvey(labels=labels, classes=dict(sorted(classes.items())), unlabeled=kinds[0], ambiguous=kinds[2])


def survey_boxes(members: Members) -> BoxSurvey | None:
    """Find Pascal VOC files with the names of pictures, and the object that occurs exactly once in most of them.

    Returns:
        The boxes, or None if there are none.
    """
    pictures = {stem(name) for name in members.pictures}
    files = [name for name in members.names if name.lower().endswith(".xml")]
    folders = {posixpath.dirname(name) for name in files if stem(name) in pictures}
    if not folders:
        return None
    folder = posixpath.commonpath(folders) or "."
    found = find_boxes(members, folder)
    objects = [names for file in sample(sorted(found.values())) if (names := _objects(members, file)) is not None]
    if not objects:
        return None
    once = Counter(name for names in objects for name, count in names.items() if count == 1)
    target = next((name for name, count in sorted(once.items(), key=_most_common) if count > len(objects) / 2), None)
    alone = sum(names.total() == 1 for names in objects) > len(objects) / 2
    single = len(found) > len(members.pictures) / 2 and (alone or target is not None)
    return BoxSurvey(boxes=folder.removeprefix(members.top), target=target, pictures=len(found), single=single)


def _objects(members: Members, file: str) -> Counter[str] | None:
    try:
        return Counter(name for name, _ in parse_voc(members.read(file), file))
    except UserError:  # another kind of XML; the stage download reports it if boxes are configured
        return None


def _most_common(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


def survey_pixels(sampled: Iterable[bytes], where: str) -> PixelSurvey:
    """Decode a sample of the pictures.

    Args:
        sampled: Bytes of each picture.
        where: Name of the source in error messages.

    Raises:
        UserError: If none can be decoded.
    """
    total, grey, sides = 0, 0, list[int]()
    for encoded in sampled:
        total += 1
        with suppress(UnreadableError):
            inspected = inspect_picture(open_picture(encoded))
            sides.append(min(inspected.width, inspected.height))
            grey += inspected.grey
    if not sides:
        raise UserError(f"{where}: none of {total} pictures looked at can be decoded; are they pictures?")
    return PixelSurvey(
        looked_at=total,
        unreadable=total - len(sides),
        grey=grey,
        smallest_side=min(sides),
        median_side=int(median(sides)),
    )


def survey_pictures(
    pictures: Iterable[Picture], total: int, labels: str, where: str
) -> tuple[LabelSurvey, PixelSurvey]:
    """Count the labels of all pictures, and decode a sample of them, in one pass.

    Args:
        pictures: All pictures.
        total: Their number.
        labels: The value of `source.labels`.
        where: Name of the source in error messages.

    Raises:
        UserError: If no sampled picture can be decoded.
    """
    places, sampled = set(sample(range(total))), list[bytes]()

    def labels_of_all() -> Iterator[Labels]:
        for index, picture in enumerate(pictures):
            if index in places:
                sampled.append(picture.encoded)
            yield picture.labels

    return count_labels(labels, labels_of_all()), survey_pixels(sampled, where)


def sample(items: Sequence[T], most: int = SAMPLED) -> list[T]:
    """Return at most `most` evenly spaced items."""
    count = min(len(items), most)
    return [items[index * len(items) // count] for index in range(count)]
