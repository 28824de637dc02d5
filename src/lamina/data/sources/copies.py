"""Detects, by file names alone, whether pictures are augmented copies of fewer originals."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# `_17_3204.jpeg`: Keras' ImageDataGenerator names copies by a prefix, the number of the original and a random number
COPY: Final = re.compile(r"_(?P<origin>\d+)_(?P<copy>\d+)\.\w+$")
EVERY_COPY: Final = r"_(?P<origin>\d+)_\d+\.\w+$"
COPY_OR_OTHER: Final = r"(?P<origin>(?<=_)\d+(?=_\d+\.\w+$)|^(?!.*_\d+_\d+\.\w+$).+)"
LONGEST: Final = 7  # digits of the random number, which is below 10**4, or 10**7 in later versions
FEWEST: Final = 10  # originals; fewer may be classes, days or cameras


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
