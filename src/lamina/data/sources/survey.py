"""A first look into a source: what its pictures, labels and boxes are, so that a system can be set up for it."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeVar

from lamina.data.decoding import UnreadableError, look, open_picture
from lamina.data.sources.boxes import find_boxes, parse_voc
from lamina.data.sources.labels import Labels, folder_label, is_label_table, read_labels
from lamina.data.sources.members import Members
from lamina.data.sources.picture import Picture
from lamina.errors import UserError

T = TypeVar("T")

LOOKED_AT: Final = 200  # pictures, and box files: tells a share of one half within 7 % (95 %)
TABLE_SUFFIXES: Final = (".csv", ".tsv")


@dataclass(frozen=True, kw_only=True)
class LabelSurvey:
    """How a source tells labels: `source.labels`, pictures per class, and pictures with none or several."""

    labels: str
    classes: dict[str, int]
    unlabeled: int
    ambiguous: int


@dataclass(frozen=True, kw_only=True)
class BoxSurvey:
    """Boxes in a source: `source.boxes`, `source.target`; single: whether most pictures have just one such box."""

    boxes: str
    target: str | None
    pictures: int
    single: bool


@dataclass(frozen=True, kw_only=True)
class PixelSurvey:
    """A sample of the pictures: how many were looked at, could not be read, are grey; their shorter sides."""

    looked_at: int
    unreadable: int
    grey: int
    smallest_side: int
    median_side: int

    @property
    def readable(self) -> int:
        """How many of those looked at could be read."""
        return self.looked_at - self.unreadable

    @property
    def mostly_grey(self) -> bool:
        """Whether more than half of these are grey."""
        return self.grey > self.readable / 2


def survey_labels(members: Members) -> LabelSurvey | None:
    """Find the labels: a CSV with columns file and label, else at least two folders; None where neither is there.

    Raises UserError where such a CSV is broken.
    """
    tables = [name for name in members.names if name.lower().endswith(TABLE_SUFFIXES)]
    told = {table: read_labels(members, table) for table in tables if is_label_table(members.read(table))}
    if told:
        table = max(sorted(told), key=lambda name: len(told[name]))
        return count_labels(table.removeprefix(members.top), (told[table].get(name, ()) for name in members.pictures))
    by_folder = count_labels("folder", (folder_label(members, name) for name in members.pictures))
    return by_folder if len(by_folder.classes) > 1 else None


def count_labels(labels: str, told: Iterable[Labels]) -> LabelSurvey:
    """Count the labels told of each picture. labels: what `source.labels` is."""
    kinds, classes = Counter[int](), Counter[str]()
    for cell in told:
        kinds[min(len(cell), 2)] += 1
        if len(cell) == 1:
            classes[cell[0]] += 1
    return LabelSurvey(labels=labels, classes=dict(sorted(classes.items())), unlabeled=kinds[0], ambiguous=kinds[2])


def survey_boxes(members: Members) -> BoxSurvey | None:
    """Find Pascal VOC files named as pictures are, and the object that stands exactly once in most of them."""
    pictures = {posixpath.splitext(posixpath.basename(name))[0] for name in members.pictures}
    files = [name for name in members.names if name.lower().endswith(".xml")]
    folders = {posixpath.dirname(name) for name in files if posixpath.splitext(posixpath.basename(name))[0] in pictures}
    if not folders:
        return None
    folder = posixpath.commonpath(folders) or "."
    found = find_boxes(members, folder)
    objects = [names for file in sample(sorted(found.values())) if (names := _objects(members, file)) is not None]
    if not objects:
        return None
    once = Counter(name for names in objects for name, count in names.items() if count == 1)
    target = next((name for name, count in sorted(once.items(), key=_commonest) if count > len(objects) / 2), None)
    alone = sum(names.total() == 1 for names in objects) > len(objects) / 2
    single = len(found) > len(members.pictures) / 2 and (alone or target is not None)
    return BoxSurvey(boxes=folder.removeprefix(members.top), target=target, pictures=len(found), single=single)


def _objects(members: Members, file: str) -> Counter[str] | None:
    try:
        return Counter(name for name, _ in parse_voc(members.read(file), file))
    except UserError:  # XML of another kind; where boxes are asked for, the download says what is wrong
        return None


def _commonest(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


def survey_pixels(sampled: Iterable[bytes], where: str) -> PixelSurvey:
    """Decode a sample of the pictures. Raises UserError where none of it can be decoded."""
    looks = [_look(encoded) for encoded in sampled]
    facts = [look for look in looks if look is not None]
    if not facts:
        raise UserError(f"{where}: none of {len(looks)} pictures looked at can be decoded; are they pictures?")
    sides = [side for side, _ in facts]
    return PixelSurvey(
        looked_at=len(looks),
        unreadable=len(looks) - len(facts),
        grey=sum(grey for _, grey in facts),
        smallest_side=min(sides),
        median_side=int(median(sides)),
    )


def _look(encoded: bytes) -> tuple[int, bool] | None:
    """(shorter side in pixels, whether grey), or None where it is no picture."""
    try:
        seen = look(open_picture(encoded))
    except UnreadableError:
        return None
    return min(seen.width, seen.height), seen.grey


def survey_pictures(
    pictures: Iterable[Picture], total: int, labels: str, where: str
) -> tuple[LabelSurvey, PixelSurvey]:
    """Count the labels of all pictures, and decode a sample of them, in one pass.

    total: how many pictures there are; labels: what `source.labels` is. Raises UserError where none can be decoded.
    """
    places, sampled = set(sample(range(total))), list[bytes]()

    def told() -> Iterator[Labels]:
        for index, picture in enumerate(pictures):
            if index in places:
                sampled.append(picture.encoded)
            yield picture.labels

    return count_labels(labels, told()), survey_pixels(sampled, where)


def sample(items: Sequence[T], most: int = LOOKED_AT) -> list[T]:
    """At most `most` of the items, evenly spaced."""
    count = min(len(items), most)
    return [items[index * len(items) // count] for index in range(count)]
