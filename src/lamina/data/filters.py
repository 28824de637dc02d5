"""Decides which pictures are kept, and gives one reason for each picture that is dropped."""

from dataclasses import dataclass
from typing import Final

import pandas as pd
from pydantic import Field

from lamina.config import Config
from lamina.data.pixels import box_fits

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


class FilterConfig(Config):
    """Section `filter` of params.yaml.

    Attributes:
        drop_grayscale: Whether pictures without color are dropped.
        min_side: Smallest allowed width and height in pixels.
        drop_duplicates: Whether only the first of identical files is kept.
    """

    drop_grayscale: bool
    min_side: int = Field(ge=1)
    drop_duplicates: bool


@dataclass(frozen=True, kw_only=True)
class FilterRules:
    """What a picture must satisfy, from the sections `filter`, `source` and `convert`.

    Attributes:
        filter: Section `filter`.
        labeled: Whether a picture must have exactly one label.
        classes: The allowed labels; None: all.
        boxed: Whether a picture must have exactly one box.
        celled: Whether a picture must show a white blood cell.
    """

    filter: FilterConfig
    labeled: bool
    classes: tuple[str, ...] | None
    boxed: bool
    celled: bool


def judge(pictures: pd.DataFrame, rules: FilterRules) -> pd.DataFrame:
    """Find the reason why each picture is dropped, or none.

    Args:
        pictures: Columns `name`, `label`, `label_count`, `boxes`, `sha256`, `error`, `width`, `height`, `grey`, `cell`.
        rules: What a picture must satisfy.

    Returns:
        Columns `reason` (null: kept; the first of `REASONS` that applies) and `detail`, with the same index.
    """
    verdicts = pd.DataFrame({"reason": None, "detail": ""}, index=pictures.index, dtype=object)
    for reason, mask, detail in _checks(pictures, rules):
        mask &= verdicts["reason"].isna()
        verdicts.loc[mask, "reason"] = reason
        verdicts.loc[mask, "detail"] = detail[mask] if isinstance(detail, pd.Series) else detail
    _drop_duplicates(pictures, verdicts, rules)
    return verdicts


def _checks(pictures: pd.DataFrame, rules: FilterRules) -> list[tuple[str, pd.Series, pd.Series | str]]:
    """(reason, mask of the pictures, detail) in the order of `REASONS`."""
    sides = pictures[["width", "height"]]
    size = sides["width"].astype(str) + "x" + sides["height"].astype(str)
    label = pictures["label"].fillna("").astype(str)
    excluded = ~label.isin(rules.classes) if rules.classes is not None else label != label
    shapes = zip(pictures["boxes"], pictures["width"], pictures["height"], strict=True)
    boxed = pd.Series([len(boxes) == 1 and box_fits(boxes[0], *shape) for boxes, *shape in shapes], pictures.index)
    found = pictures["boxes"].map(len).astype(str)
    least = rules.filter.min_side
    return [
        ("unreadable", pictures["error"] != "", pictures["error"]),
        ("too small", sides.min(axis=1) < least, size + f" is smaller than filter.min_side={least}"),
        ("grayscale", pictures["grey"] & rules.filter.drop_grayscale, "no color"),
        ("unlabeled", (pictures["label_count"] == 0) & rules.labeled, "no label"),
        ("ambiguous", (pictures["label_count"] > 1) & rules.labeled, "several labels: " + label),
        ("excluded class", excluded, label + " is not in source.classes"),
        ("bad box", ~boxed & rules.boxed, found + " boxes, expected one that lies in the picture"),
        ("no cell", pictures["cell"].isna() & rules.celled, "no white blood cell found"),
    ]


def _drop_duplicates(pictures: pd.DataFrame, verdicts: pd.DataFrame, rules: FilterRules) -> None:
    """Of identical files keep the first name, or none if their labels differ."""
    if not rules.filter.drop_duplicates:
        return
    kept = pictures[verdicts["reason"].isna()]
    for _, same in kept[kept.duplicated("sha256", keep=False)].groupby("sha256"):
        if same["label"].nunique(dropna=False) > 1:
            verdicts.loc[same.index, "reason"] = "ambiguous"
            labels = ", ".join(sorted(same["label"].fillna("none").unique()))
            verdicts.loc[same.index, "detail"] = f"same bytes under several labels: {labels}"
        else:
            verdicts.loc[same.index[1:], "reason"] = "duplicate"
            verdicts.loc[same.index[1:], "detail"] = f"same bytes as {same['name'].iloc[0]}"
