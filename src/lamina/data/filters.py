"""Which pictures are kept: facts read off each picture, then one reason for each that is dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field

from lamina.config import Config
from lamina.data.decoding import GREY_MODES, UnreadableError, decode, open_picture, shown_size
from lamina.data.shards import Shard, read_shard

REASONS: Final = (
    "unreadable",
    "too small",
    "grayscale",
    "unlabeled",
    "ambiguous",
    "excluded class",
    "bad box",
    "duplicate",
)
THUMBNAIL: Final = 16  # side in pixels
GREY_SPREAD: Final = 16  # levels between a pixel's channels: below, JPEG noise on grey; above, color
COLORED_SHARE: Final = 0.001  # of the pixels that must be colored for a picture to count as colored

_LOOK_AT: Final = 32  # pixels of the shorter side that are enough to tell grey from colored


class FilterConfig(Config):
    """Section `filter` of params.yaml."""

    drop_grayscale: bool
    min_side: int = Field(ge=1)
    drop_duplicates: bool


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What a picture must satisfy, gathered from the sections `filter`, `source` and `convert`."""

    filter: FilterConfig
    labeled: bool
    classes: tuple[str, ...] | None
    boxed: bool


def inspect_shard(raw: Path, shard: Shard) -> tuple[pd.DataFrame, np.ndarray]:
    """Decode one shard's pictures and say what they are.

    Returns a table (`error`, `width`, `height`, `grey`: by mode or by content) and thumbnails,
    (n, 16, 16, 3) uint8, black where a picture is unreadable.
    """
    encoded = read_shard(raw, shard, ["encoded"])["encoded"]
    thumbnails = np.zeros((len(encoded), THUMBNAIL, THUMBNAIL, 3), np.uint8)
    facts = []
    for row, content in enumerate(encoded):
        try:
            *shown, small = look(content)
            thumbnails[row] = np.asarray(small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
            facts.append(("", *shown))
        except UnreadableError as error:
            facts.append((str(error), 0, 0, False))
    return pd.DataFrame(facts, columns=["error", "width", "height", "grey"]), thumbnails


def look(encoded: bytes) -> tuple[int, int, bool, Image.Image]:
    """Decode a picture small: width and height as shown, whether it is grey (by mode or by content), and its pixels.

    Raises UnreadableError.
    """
    picture = open_picture(encoded)
    mode, (width, height) = picture.mode, shown_size(picture)
    small = decode(picture, least=_LOOK_AT / max(1, min(width, height)))
    return width, height, mode in GREY_MODES or is_grey(np.asarray(small)), small


def is_grey(rgb: np.ndarray) -> bool:
    """Whether a picture, (..., 3) uint8, shows no color: nowhere a tint beyond the noise of grey JPEGs."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(np.count_nonzero(spread > GREY_SPREAD) < COLORED_SHARE * spread.size)


def judge(pictures: pd.DataFrame, demands: Demands) -> pd.DataFrame:
    """Give every picture its reason to be dropped, or none.

    pictures: columns `name`, `label`, `label_count`, `boxes`, `sha256`, `error`, `width`, `height`, `grey`.
    Returns `reason` (null: kept) and `detail`, same index; where several hold, the first of `REASONS`.
    """
    verdicts = pd.DataFrame({"reason": None, "detail": ""}, index=pictures.index, dtype=object)
    for reason, mask, detail in _findings(pictures, demands):
        mask &= verdicts["reason"].isna()
        verdicts.loc[mask, "reason"] = reason
        verdicts.loc[mask, "detail"] = detail[mask] if isinstance(detail, pd.Series) else detail
    _drop_duplicates(pictures, verdicts, demands)
    return verdicts


def _findings(pictures: pd.DataFrame, demands: Demands) -> list[tuple[str, pd.Series, pd.Series | str]]:
    """(reason, where it holds, detail) in the order of `REASONS`."""
    sides = pictures[["width", "height"]]
    size = sides["width"].astype(str) + "x" + sides["height"].astype(str)
    label = pictures["label"].fillna("").astype(str)
    excluded = ~label.isin(demands.classes) if demands.classes is not None else label != label
    shapes = zip(pictures["boxes"], pictures["width"], pictures["height"], strict=True)
    boxed = pd.Series([len(boxes) == 1 and box_fits(boxes[0], *shape) for boxes, *shape in shapes], pictures.index)
    found = pictures["boxes"].map(len).astype(str)
    least = demands.filter.min_side
    return [
        ("unreadable", pictures["error"] != "", pictures["error"]),
        ("too small", sides.min(axis=1) < least, size + f" is smaller than filter.min_side={least}"),
        ("grayscale", pictures["grey"] & demands.filter.drop_grayscale, "no color in it"),
        ("unlabeled", (pictures["label_count"] == 0) & demands.labeled, "no label told"),
        ("ambiguous", (pictures["label_count"] > 1) & demands.labeled, "labels told: " + label),
        ("excluded class", excluded, label + " is not in source.classes"),
        ("bad box", ~boxed & demands.boxed, found + " boxes, expected one that lies in the picture"),
    ]


def box_fits(box: Sequence[int], width: int, height: int) -> bool:
    """Whether a box (left, top, right, bottom) holds at least a pixel and its middle lies in the picture."""
    left, top, right, bottom = box
    inside = 0 <= (left + right) / 2 < width and 0 <= (top + bottom) / 2 < height
    return inside and right > left and bottom > top


def _drop_duplicates(pictures: pd.DataFrame, verdicts: pd.DataFrame, demands: Demands) -> None:
    """Same bytes: keep the first name, or none where their labels differ."""
    if not demands.filter.drop_duplicates:
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
