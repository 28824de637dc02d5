"""Surveys a new source: its pictures, labels, boxes and copies, so that params.yaml can be written for it.

Whether pictures are augmented copies of fewer originals is told by file names alone.
"""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final, TypeVar

from lamina.data.decoding import inspect_picture
from lamina.data.opening import UnreadableError, open_picture
from lamina.data.sources.boxes import find_boxes, read_annotation
from lamina.data.sources.config import CHOOSE
from lamina.data.sources.labels import (
    COLUMNS,
    LABEL_NAMES,
    UnclearColumnsError,
    UnfitTableError,
    read_labels,
    separator_of,
)
from lamina.data.sources.layout import Labels, find_layout, folder_level
from lamina.data.sources.members import Members, Picture, decode_text, some, stem
from lamina.data.sources.target_survey import TargetSurvey, survey_targets
from lamina.errors import UserError

T = TypeVar("T")

SAMPLED: Final = 200  # pictures, and box files: estimates a share of one half within 7 % (95 %)
TABLE_SUFFIXES: Final = (".csv", ".tsv")
SUBMISSION: Final = re.compile(
    "submi", re.IGNORECASE
)  # tables that competitions want to get: their labels are examples

# `_17_3204.jpeg`: Keras' ImageDataGenerator names copies by a prefix, the number of the original and a random number
COPY: Final = re.compile(r"_(?P<origin>\d+)_(?P<copy>\d+)\.\w+$")
EVERY_COPY: Final = r"_(?P<origin>\d+)_\d+\.\w+$"
COPY_OR_OTHER: Final = r"(?P<origin>(?<=_)\d+(?=_\d+\.\w+$)|^(?!.*_\d+_\d+\.\w+$).+)"
LONGEST: Final = 7  # digits of the random number, which is below 10**4, or 10**7 in later versions
FEWEST: Final = 10  # originals; fewer may be classes, days or cameras


@dataclass(frozen=True, kw_only=True)
class LabelSurvey:
    """Labels of a source.

    Attributes:
        labels: Value for `source.labels`.
        classes: Pictures per class.
        unlabeled: Pictures without a label.
        ambiguous: Pictures with several labels.
        choices: Where `labels` is `choose`, pictures by class, by possible value of `source.labels`.
        targets: What is there in place of classes, where `labels` is `none`.
        notes: What users must know, in words.
    """

    labels: str
    classes: dict[str, int]
    unlabeled: int
    ambiguous: int
    choices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    targets: TargetSurvey | None = None
    notes: tuple[str, ...] = ()


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
        classes: Of each class, the readable pictures and the grey ones among them.
    """

    looked_at: int
    unreadable: int
    grey: int
    smallest_side: int
    median_side: int
    classes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def readable(self) -> int:
        """Number of sampled pictures that can be decoded."""
        return self.looked_at - self.unreadable

    @property
    def mostly_grey(self) -> bool:
        """Whether more than half of the readable pictures are grey."""
        return self.grey > self.readable / 2

    @property
    def grey_tells_classes(self) -> bool:
        """Whether most pictures of some classes are grey, and most of the others are not."""
        return len({2 * grey > readable for readable, grey in self.classes.values()}) > 1


@dataclass(frozen=True, kw_only=True)
class OriginSurvey:
    """Copies found by file names.

    Attributes:
        pattern: Value for `source.origin`.
        origins: Number of originals.
        copies: Number of pictures that are copies.
        others: Number of other pictures.
    """

    pattern: str
    origins: int
    copies: int
    others: int


def survey_labels(members: Members) -> LabelSurvey | None:
    """Find the labels: a table that names pictures and labels, or else at least two folders.

    Returns:
        The labels, or None if there are neither. They are `choose` if the folders may mean different classes, and
        `none`, with targets, if the table holds numbers or several labels a picture.

    Raises:
        UserError: If a table with the columns file and label is broken, or one names pictures, but its label is not
            clear, or it has a mistake, and the folders tell no classes.
    """
    tables, unclear, strange = _read_tables(members)
    wanted = [table for table in _tables(members) if not SUBMISSION.search(stem(table))]
    targets = [found for table in wanted if (found := survey_targets(members, table))]
    notes = tuple(one.advice for one in targets)
    if tables:
        table = max(sorted(tables), key=lambda name: len(tables[name]))
        if certain := [one for one in targets if one.table == table and one.certain]:
            return _no_classes(members, targets=certain[0])
        labels = (tables[table].get(name, ()) for name in members.pictures)
        unused = [one.removeprefix(members.top) for one in sorted(tables) if one != table]
        return replace(count_labels(table.removeprefix(members.top), labels), notes=(*unused_tables(unused), *notes))
    if folders := survey_folders(members):
        return replace(folders, notes=tuple(f"labels are not from a table: {one}" for one in unclear) + notes)
    if certain := [one for one in targets if one.certain]:
        return _no_classes(members, targets=certain[0])
    if unclear:
        raise unclear[0]
    notes += tuple(f"labels are not from a table: {one}" for one in strange)
    return _no_classes(members, notes=notes) if notes else None


def unused_tables(names: Sequence[str]) -> tuple[str, ...]:
    """Note which tables have labels, too, in a line; nothing if there are none."""
    return (f"labels are there in {some(names)}, too, and not used: source.labels names one table",) * bool(names)


def _no_classes(members: Members, *, targets: TargetSurvey | None = None, notes: tuple[str, ...] = ()) -> LabelSurvey:
    count = len(members.pictures)
    return LabelSurvey(labels="none", classes={}, unlabeled=count, ambiguous=0, targets=targets, notes=notes)


def _tables(members: Members) -> list[str]:
    return [name for name in members.names if name.lower().endswith(TABLE_SUFFIXES)]


def _read_tables(members: Members) -> tuple[dict[str, dict[str, Labels]], list[UserError], list[UserError]]:
    """The labels of each table that has some for the pictures; what is wrong with tables that may have some; and with
    tables that have a column for labels, but name no pictures.
    """
    found, unclear, strange = dict[str, dict[str, Labels]](), list[UserError](), list[UserError]()
    for table in _tables(members):
        text = decode_text(members.read(table))
        if separator_of(text, COLUMNS):
            found[table] = read_labels(members, table)
        elif not SUBMISSION.search(stem(table)):
            try:
                labels = read_labels(members, table)
            except UnclearColumnsError as error:
                unclear.append(error)
            except UnfitTableError as error:
                unclear += [error] * _are_classes(error.labels)
            except UserError as error:  # another kind of table
                strange += [error] * any(separator_of(text, [name]) for name in LABEL_NAMES)
            else:
                if _are_classes(labels):
                    found[table] = labels
    return found, unclear, strange


def _are_classes(labels: Mapping[str, Labels]) -> bool:
    return 1 < len({*labels.values()}) <= len(labels) / 2


def survey_folders(members: Members) -> LabelSurvey | None:
    """Find the classes that folders name; None if there are fewer than two."""
    layout = find_layout(members)
    readings = layout.readings
    if len(readings) > 1:
        return LabelSurvey(labels=CHOOSE, classes={}, unlabeled=0, ambiguous=0, choices=readings)
    for labels in readings:
        level = folder_level(labels) or 0
        return count_labels(labels, (layout.label(name, level) for name in members.pictures))
    return None


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
    often_first = sorted(once.items(), key=lambda counted: (-counted[1], counted[0]))
    target = next((name for name, count in often_first if count > len(objects) / 2), None)
    alone = sum(names.total() == 1 for names in objects) > len(objects) / 2
    single = len(found) > len(members.pictures) / 2 and (alone or target is not None)
    return BoxSurvey(boxes=folder.removeprefix(members.top), target=target, pictures=len(found), single=single)


def _objects(members: Members, file: str) -> Counter[str] | None:
    try:
        return Counter(name for name, _ in read_annotation(members, file).objects)
    except UserError:  # another kind of XML; the stage download reports it if boxes are configured
        return None


def survey_pixels(sampled: Iterable[tuple[bytes, Labels]], where: str) -> PixelSurvey:
    """Decode a sample of the pictures.

    Args:
        sampled: Bytes and labels of each picture.
        where: Name of the source in error messages.

    Raises:
        UserError: If none can be decoded.
    """
    total, sides = 0, list[int]()
    grey: dict[Labels, list[bool]] = defaultdict(list)
    for encoded, labels in sampled:
        total += 1
        with suppress(UnreadableError):
            inspected = inspect_picture(open_picture(encoded))
            sides.append(min(inspected.width, inspected.height))
            grey[labels].append(inspected.grey)
    if not sides:
        raise UserError(f"{where}: none of {total} pictures looked at can be decoded; are they pictures?")
    return PixelSurvey(
        looked_at=total,
        unreadable=total - len(sides),
        grey=sum(map(sum, grey.values())),
        smallest_side=min(sides),
        median_side=int(median(sides)),
        classes={cell[0]: (len(found), sum(found)) for cell, found in sorted(grey.items()) if len(cell) == 1},
    )


def grey_classes(pixels: PixelSurvey, most: int = 12) -> str:
    """Describe how many pictures of each class are grey in a sample; of many classes, those with most."""
    by_share = sorted(pixels.classes.items(), key=lambda item: (-item[1][1] / item[1][0], item[0]))
    shown = [f"{name!r} {grey} of {readable}" for name, (readable, grey) in by_share[:most]]
    return ", ".join(shown) + (", ..." if len(by_share) > most else "")


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
    places, sampled = set(sample(range(total))), list[tuple[bytes, Labels]]()

    def labels_of_all() -> Iterator[Labels]:
        for index, picture in enumerate(pictures):
            if index in places:
                sampled.append((picture.encoded, picture.labels))
            yield picture.labels

    return count_labels(labels, labels_of_all()), survey_pixels(sampled, where)


def survey_origins(names: Sequence[str], classes: int) -> OriginSurvey | None:
    """Find the pattern that groups the copies of an original.

    A wrong pattern would group unrelated pictures. So two numbers in a name count as original and random number only
    if the first counts upwards, the second does not, and there are many small groups.

    Args:
        names: Names of all pictures.
        classes: Number of different labels.

    Returns:
        The pattern and its counts, or None if the evidence is weak.
    """
    found = [match for name in names if (match := COPY.search(posixpath.basename(name)))]
    groups: dict[str, list[str]] = defaultdict(list)
    for match in found:
        groups[match["origin"]].append(match["copy"])
    if not found or 2 * len(found) < len(names):
        return None
    if not (_are_originals(groups, classes) and _are_random(groups)):
        return None
    others = len(names) - len(found)
    pattern = COPY_OR_OTHER if others else EVERY_COPY
    return OriginSurvey(pattern=pattern, origins=len(groups), copies=len(found), others=others)


def _are_originals(groups: dict[str, list[str]], classes: int) -> bool:
    """Whether the first numbers count many things with a few pictures each."""
    sizes = [len(copies) for copies in groups.values()]
    several = sum(size for size in sizes if size > 1)
    are_many = len(groups) >= max(FEWEST, 2 * classes + 1)  # else they may be classes
    are_counted = max(map(int, groups)) < 10 * len(groups)  # else they may be dates
    return are_many and are_counted and 2 * several >= sum(sizes) and 10 * max(sizes) <= sum(sizes)


def _are_random(groups: dict[str, list[str]]) -> bool:
    """Whether the second numbers may be random: not padded, no dates, no running index, no cells of a grid."""
    numbers = [copy for copies in groups.values() for copy in copies]
    are_plain = all(len(copy) <= LONGEST and copy == str(int(copy)) for copy in numbers)
    distinct = len(set(numbers))
    are_an_index = distinct == len(numbers) and max(map(int, numbers)) < 2 * len(numbers)
    return are_plain and not are_an_index and 3 * distinct >= len(numbers)


def sample(items: Sequence[T], most: int = SAMPLED) -> list[T]:
    """Return at most `most` evenly spaced items."""
    count = min(len(items), most)
    return [items[index * len(items) // count] for index in range(count)]
