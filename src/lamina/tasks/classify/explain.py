"""Sheets that show which places of a picture support a class."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.sheets import contact_sheet
from lamina.maths.color import RgbPixels
from lamina.models.occlusion import Occlusion
from lamina.models.saliency import Saliency
from lamina.tasks.columns import probability
from lamina.text import printable

CELL: Final = 160
LIKELIEST: Final = 4  # classes shown next to a picture
DIMMED: Final = 0.35  # brightness of places that do not support the class


def example_predictions(answers: pd.DataFrame, classes: Sequence[str], most: int) -> pd.DataFrame:
    """Choose predictions to show: correct ones of every class, from sure to unsure, and the surest wrong ones.

    Args:
        answers: Columns `id`, `label`, `predicted`, and the probabilities of each class.
        classes: Names of the classes.
        most: Rows of each kind.

    Returns:
        At most `most` correct rows, by class, then by probability and id; then at most `most` wrong ones.
    """
    confidence = answers[[*map(probability, classes)]].max(axis=1)
    ranked = answers.assign(confidence=confidence).sort_values(["confidence", "id"], ascending=[False, True])
    is_right = ranked["label"] == ranked["predicted"]
    by_class = [rows for _, rows in ranked[is_right].groupby("label", sort=True)]
    of_each = math.ceil(most / max(len(by_class), 1))
    right = _spread(pd.concat([_spread(rows, of_each) for rows in by_class]), most) if by_class else ranked[:0]
    return pd.concat([right, ranked[~is_right].head(most)]).drop(columns="confidence")


def _spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Choose rows evenly, with the first and the last."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]


def answers_sheet(
    saliency: Saliency | Occlusion, answers: pd.DataFrame, pixels: RgbPixels, classes: Sequence[str]
) -> Image.Image:
    """Draw correct and wrong predictions, and below each picture the places that support the class.

    Args:
        saliency: Of the run's model.
        answers: At least one row of `example_predictions`.
        pixels: (len(answers), S, S, 3) uint8.
        classes: Names of the classes.
    """
    names = list(classes)
    shown_classes = np.array([[names.index(name) for name in answers[column]] for column in ("predicted", "label")]).T
    for_predicted, for_label = zip(*overlays(saliency, pixels, shown_classes), strict=True)
    captions = [
        f"{printable(row['label'])}\n→ {row[probability(row['predicted'])]:.0%} {printable(row['predicted'])}"
        for row in answers.to_dict("records")
    ]
    is_right = (answers["label"] == answers["predicted"]).to_numpy()
    by = f" ({saliency.method})" if isinstance(saliency, Occlusion) else ""
    kinds: list[tuple[str, np.ndarray, Sequence[RgbPixels] | RgbPixels]] = [
        ("correct", is_right, pixels),
        (f"supports it{by}", is_right, for_predicted),
        ("wrong", ~is_right, pixels),
        (f"supports the prediction{by}", ~is_right, for_predicted),
        (f"supports the label{by}", ~is_right, for_label),
    ]
    rows = [(kind, np.flatnonzero(chosen), shown) for kind, chosen, shown in kinds if chosen.any()]
    return contact_sheet(
        [[shown[int(place)] for place in places] for _, places, shown in rows],
        [kind for kind, *_ in rows],
        [[captions[place] if shown is pixels else "" for place in places] for _, places, shown in rows],
        cell=CELL,
    )


def classes_sheet(
    saliency: Saliency | Occlusion, pixels: RgbPixels, probabilities: np.ndarray, classes: Sequence[str]
) -> Image.Image:
    """Draw a picture, and next to it the places that support each of its most probable classes.

    Args:
        saliency: Of the run's model.
        pixels: (S, S, 3) uint8.
        probabilities: (classes,).
        classes: Names of the classes.
    """
    order = np.argsort(-probabilities, kind="stable")[:LIKELIEST]
    (shown,) = overlays(saliency, pixels[None], order[None])
    words = [f"{probabilities[which]:.0%} {printable(classes[which])}" for which in order]
    by = saliency.method if isinstance(saliency, Occlusion) else ""
    return contact_sheet([[pixels, *shown]], [by], [["", *words]], cell=2 * CELL)


def overlays(saliency: Saliency | Occlusion, pixels: RgbPixels, classes: np.ndarray) -> list[list[RgbPixels]]:
    """Highlight the places that support a class. Brightness is not comparable between pictures.

    Args:
        saliency: Of the run's model.
        pixels: (n, S, S, 3) uint8.
        classes: (n, k), the classes of each picture.

    Returns:
        For each picture k copies, bright where a place supports the class.
    """
    shares = saliency.shares(pixels, classes)
    return [[highlighted(picture, share) for share in some] for picture, some in zip(pixels, shares, strict=True)]


def highlighted(picture: RgbPixels, shares: np.ndarray) -> RgbPixels:
    """Darken a picture, (S, S, 3) uint8, except where `shares`, (height, width), are positive."""
    side = picture.shape[1], picture.shape[0]
    smooth = np.asarray(
        Image.fromarray(np.maximum(shares, 0).astype(np.float32)).resize(side, Image.Resampling.BICUBIC)
    )
    heat = np.clip(smooth / max(float(smooth.max()), 1e-12), 0, 1)[..., None]
    shown = picture * (DIMMED + (1 - DIMMED) * heat)
    return shown.round().astype(np.uint8)
