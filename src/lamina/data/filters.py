"""Decides which pictures are kept, and gives one reason for each picture that is dropped."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd
from pydantic import Field

from lamina.config import Config
from lamina.data.pixels import box_fits
from lamina.data.verdicts import Check, drop_duplicates, give_verdicts
from lamina.maths.published_split import GivenTest

REASONS: Final = (
    "unreadable",
    "too small",
    "grayscale",
    "unlabeled",
    "ambiguous",
    "excluded class",
    "bad box",
    "no cell",
    "duplicate",
)


REMEDIES: Final[Mapping[str, str]] = {
    "grayscale": "set filter.drop_grayscale to false",
    "too small": "lower filter.min_side",
    "bad box": "correct the boxes, or set convert.isolate to none",
    "no cell": "set convert.no_cell to whole",
}


class FilterConfig(Config):
    """Section `filter` of params.yaml.

    Attributes:
        drop_grayscale: Whether pictures without color are dropped: they teach nothing to runs that colorize.
        min_side: Smallest allowed width and height in pixels.
        drop_duplicates: Whether only the first of identical files is kept.
        merge_near_duplicates: Whether pictures that differ only in encoding, size or slightly in brightness count as
            one origin.
    """

    drop_grayscale: bool
    min_side: int = Field(ge=1, le=100_000)
    drop_duplicates: bool
    merge_near_duplicates: bool = True


@dataclass(frozen=True, kw_only=True)
class FilterRules:
    """What a picture must satisfy, from the sections `filter`, `source` and `convert`.

    Attributes:
        filter: Section `filter`.
        labeled: Whether a picture must have exactly one label.
        classes: The allowed labels; None: all.
        boxed: Whether a picture must have exactly one box.
        celled: Whether a picture must show a white blood cell.
        given_test: From names to whether each is of the given test set, whose pictures stay when copies are dropped.
        corrected: Names of the pictures whose label was corrected, which stays when copies have another one.
    """

    filter: FilterConfig
    labeled: bool
    classes: tuple[str, ...] | None
    boxed: bool
    celled: bool
    given_test: GivenTest | None = None
    corrected: Collection[str] = ()


def judge(pictures: pd.DataFrame, rules: FilterRules) -> pd.DataFrame:
    """Find the reason why each picture is dropped, or none.

    Args:
        pictures: Columns `name`, `label`, `label_count`, `boxes`, `sha256`, `error`, `width`, `height`, `grey`, `cell`.
        rules: What a picture must satisfy.

    Returns:
        Columns `reason` (null: kept; the first of `REASONS` that applies) and `detail`, with the same index.
    """
    verdicts = give_verdicts(pictures, _checks(pictures, rules))
    if rules.filter.drop_duplicates:
        drop_duplicates(pictures, verdicts, "sha256", "bytes", rules.given_test, rules.corrected)
    return verdicts


def _checks(pictures: pd.DataFrame, rules: FilterRules) -> Iterator[Check]:
    """Yield the checks in the order of `REASONS`; the details of one take memory at a time."""
    yield "unreadable", pictures["error"] != "", pictures["error"]
    sides, least = pictures[["width", "height"]], rules.filter.min_side
    size = sides["width"].astype(str) + "x" + sides["height"].astype(str)
    yield "too small", sides.min(axis=1) < least, size + f" is smaller than filter.min_side={least}"
    yield "grayscale", pictures["grey"] & rules.filter.drop_grayscale, "no color"
    yield "unlabeled", (pictures["label_count"] == 0) & rules.labeled, "no label"
    label = pictures["label"].fillna("").astype(str)
    yield "ambiguous", (pictures["label_count"] > 1) & rules.labeled, "several labels: " + label
    excluded = ~label.isin(rules.classes) if rules.classes is not None else label != label
    yield "excluded class", excluded, label + " is not in source.classes"
    if rules.boxed:
        shapes = zip(pictures["boxes"], pictures["width"], pictures["height"], strict=True)
        boxed = pd.Series([len(boxes) == 1 and box_fits(boxes[0], *shape) for boxes, *shape in shapes], pictures.index)
        found = pictures["boxes"].map(len).astype(str)
        yield "bad box", ~boxed, found + " boxes, expected one that lies in the picture"
    if rules.celled:
        yield "no cell", pictures["cell"].isna(), "no white blood cell found"
