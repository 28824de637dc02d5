"""Whether pictures look like augmented copies of fewer originals, by their file names alone."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# `_17_3204.jpeg`: as Keras' ImageDataGenerator saves copies: a prefix, the original's number, a random one
COPY: Final = re.compile(r"_(?P<origin>\d+)_(?P<copy>\d+)\.\w+$")
EVERY_COPY: Final = r"_(?P<origin>\d+)_\d+\.\w+$"
COPY_OR_OTHER: Final = r"(?P<origin>(?<=_)\d+(?=_\d+\.\w+$)|^(?!.*_\d+_\d+\.\w+$).+)"
LONGEST: Final = 7  # digits of the random number: it is below 10**4, or 10**7 in later versions
FEWEST: Final = 10  # originals: fewer may as well be classes, days or cameras


@dataclass(frozen=True, kw_only=True)
class OriginSurvey:
    """`source.origin` for names of copies: how many originals there are, of how many copies; others: the rest."""

    pattern: str
    origins: int
    copies: int
    others: int


def survey_origins(names: Sequence[str], classes: int) -> OriginSurvey | None:
    """Find the pattern that groups copies of an original; None where the names do not convince.

    names: of all pictures; classes: how many labels they have. A wrong pattern would lump together what has
    nothing in common, so that two numbers are taken for an original's and a random one only where the first
    is counted, the second is not, and there are many small groups.
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
    """Whether the first numbers count something that there are many of, each with a few pictures."""
    sizes = [len(copies) for copies in groups.values()]
    several = sum(size for size in sizes if size > 1)
    are_many = len(groups) >= max(FEWEST, 2 * classes + 1)  # else they may be the classes themselves
    are_counted = max(map(int, groups)) < 10 * len(groups)  # else they may be dates
    return are_many and are_counted and 2 * several >= sum(sizes) and 10 * max(sizes) <= sum(sizes)


def _are_random(groups: dict[str, list[str]]) -> bool:
    """Whether the second numbers may be drawn: neither padded nor dates, no running index, no places of a grid."""
    told = [copy for copies in groups.values() for copy in copies]
    are_plain = all(len(copy) <= LONGEST and copy == str(int(copy)) for copy in told)
    distinct = len(set(told))
    are_an_index = distinct == len(told) and max(map(int, told)) < 2 * len(told)
    return are_plain and not are_an_index and 3 * distinct >= len(told)
