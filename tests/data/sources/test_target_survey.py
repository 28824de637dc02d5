"""Tables of a new source that hold numbers, or several labels a picture: found where they are, and only there."""

import pytest

from lamina.data.sources.members import Members
from lamina.data.sources.survey import survey_labels
from lamina.data.sources.target_survey import TargetSurvey, survey_targets

COUNT = 24
PICTURES = [f"{number:02d}.png" for number in range(COUNT)]


def source(header: str, cells: list[str]) -> Members:
    rows = "".join(f"{name[:-4]},{cell}\n" for name, cell in zip(PICTURES, cells, strict=True))
    table = f"id,{header}\n{rows}".encode()
    return Members(where="here", names=(*PICTURES, "t.csv"), read=lambda name: table if name == "t.csv" else b"")


def found(header: str, cells: list[str]) -> TargetSurvey | None:
    return survey_targets(source(header, cells), "t.csv")


@pytest.mark.parametrize(
    ("header", "cells", "task", "value", "certain"),
    [
        ("age", [f"{number}.5" for number in range(COUNT)], "regress", "age", True),
        ("age", [str(number) for number in range(COUNT)], "regress", "age", False),
        ("age", [f'"{number},5"' for number in range(COUNT)], "regress", "age", True),
        ("seen", ["a|b", "a", "b|c"] * 8, "multilabel", ["seen"], True),
        ("seen", ['"a, b"', '"b, a"', "b", "a"] * 6, "multilabel", ["seen"], False),
        ("up,down", ["1,1", "0,1", "0,0"] * 8, "multilabel", ["up", "down"], True),
        ("up,down", ["1,-1", "1,1", "-1,1"] * 8, "multilabel", ["up", "down"], True),
    ],
)
def test_targets_are_found(header: str, cells: list[str], task: str, value: object, certain: bool) -> None:
    one = found(header, cells)
    assert one
    assert (one.task, one.value, one.certain) == (task, value, certain)
    survey = survey_labels(source(header, cells))
    assert survey
    assert survey.targets == (one if certain else None), "what is not certain is said, and not done"
    assert certain or f"task: {task}" in " ".join(survey.notes)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("label", ["a", "b"] * 12),
        ("label", [str(number % 7) for number in range(COUNT)]),
        ("label", ["tench, Tinca tinca", "shark"] * 12),
        ("up,down", ["1,0", "0,1"] * 12),
        ("sex,age", ["m,60.5", "f,61.5"] * 12),
    ],
)
def test_classes_and_unclear_columns_are_no_targets(header: str, cells: list[str]) -> None:
    assert found(header, [f'"{cell}"' if ", " in cell else cell for cell in cells]) is None
