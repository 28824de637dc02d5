"""Classes of a new source that have too few pictures or texts, or none in the test part."""

from collections.abc import Callable, Mapping
from typing import Final

from lamina.data.sources.layout import Labels
from lamina.data.sources.members import Members, some
from lamina.data.sources.survey import LabelSurvey
from lamina.maths.published_split import find_published_test

FEWEST: Final = 10  # pictures or texts of a class: fewer cannot be split into three folds that mean anything


def too_few(labels: LabelSurvey) -> Mapping[str, int]:
    """Classes of so few pictures or texts that three folds of them mean nothing."""
    return {name: count for name, count in labels.classes.items() if count < FEWEST}


def leaves_out(labels: LabelSurvey) -> bool:
    """Whether `source.classes` leaves the classes of too few out: where there are such, and two others to learn."""
    return 0 < len(too_few(labels)) < len(labels.classes) - 1


def untested(
    members: Members, labels_of: Callable[[str], Labels], survey: LabelSurvey, test_pattern: str | None
) -> list[str]:
    """Classes that the test part lacks, of which no score can be measured, in a line; none without a test part."""
    if test_pattern is None:
        return []
    every = {name: labels_of(name) for name in members.pictures}
    tested = find_published_test(list(every), test_pattern)
    parts = {True: set[str](), False: set[str]()}
    for is_test, labels in zip(tested, every.values(), strict=True):
        parts[bool(is_test)].update(labels)
    missing = sorted(parts[False] - parts[True] - set(too_few(survey) if leaves_out(survey) else ()))
    return [
        f"warning: the test part has no {members.content} of {some(missing)}, so `dvc repro` will stop; leave such "
        "classes out with source.classes, or set split.test_pattern to null"
    ] * bool(missing)
