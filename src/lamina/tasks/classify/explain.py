"""Pictures of the places that support a prediction, so that people can judge whether these are what matters."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.sheets import contact_sheet
from lamina.maths.color import RgbPixels
from lamina.models.saliency import Saliency

CELL: Final = 160
LIKELIEST: Final = 4  # classes shown next to one picture
DIMMED: Final = 0.35  # of the light, where nothing supports the class


def telling_examples(answers: pd.DataFrame, classes: Sequence[str], most: int) -> pd.DataFrame:
    """Choose predictions to look at: correct ones of every class, from sure to unsure, and the surest wrong ones.

    answers: `id`, `label`, `predicted` and a column of probabilities per class. Returns at most `most` rows of each
    kind, the right first and by class, then by probability; equals stand by id.
    """
    given = answers[list(classes)].max(axis=1)
    ranked = answers.assign(given=given).sort_values(["given", "id"], ascending=[False, True])
    is_right = ranked["label"] == ranked["predicted"]
    by_class = [rows for _, rows in ranked[is_right].groupby("label", sort=True)]
    of_each = math.ceil(most / max(len(by_class), 1))
    right = _spread(pd.concat([_spread(rows, of_each) for rows in by_class]), most) if by_class else ranked[:0]
    return pd.concat([right, ranked[~is_right].head(most)]).drop(columns="given")


def _spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Some rows, evenly chosen, the first and the last among them."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]


def answers_sheet(saliency: Saliency, answers: pd.DataFrame, pixels: RgbPixels, classes: Sequence[str]) -> Image.Image:
    """Draw correct and wrong predictions, and below each picture the places in it that support the class.

    answers: rows as `telling_examples` chooses them, at least one; pixels: (len(answers), S, S, 3), their pictures.
    """
    names = list(classes)
    which = np.array([[names.index(name) for name in answers[column]] for column in ("predicted", "label")]).T
    for_predicted, for_label = zip(*overlays(saliency, pixels, which), strict=True)
    captions = [
        f"{row['label']}\n→ {row['predicted']} {row[row['predicted']]:.0%}" for row in answers.to_dict("records")
    ]
    is_right = (answers["label"] == answers["predicted"]).to_numpy()
    kinds: list[tuple[str, np.ndarray, Sequence[RgbPixels] | RgbPixels]] = [
        ("correct", is_right, pixels),
        ("supports it", is_right, for_predicted),
        ("wrong", ~is_right, pixels),
        ("supports the prediction", ~is_right, for_predicted),
        ("supports the label", ~is_right, for_label),
    ]
    rows = [(kind, np.flatnonzero(chosen), shown) for kind, chosen, shown in kinds if chosen.any()]
    return contact_sheet(
        [[shown[int(place)] for place in places] for _, places, shown in rows],
        [kind for kind, *_ in rows],
        [[captions[place] if shown is pixels else "" for place in places] for _, places, shown in rows],
        cell=CELL,
    )


def classes_sheet(
    saliency: Saliency, pixels: RgbPixels, probabilities: np.ndarray, classes: Sequence[str]
) -> Image.Image:
    """Draw one picture, and next to it the places in it that support each of the most probable classes.

    pixels: (S, S, 3); probabilities: (classes,).
    """
    order = np.argsort(-probabilities, kind="stable")[:LIKELIEST]
    (shown,) = overlays(saliency, pixels[None], order[None])
    words = [f"{classes[which]} {probabilities[which]:.0%}" for which in order]
    return contact_sheet([[pixels, *shown]], [""], [["", *words]], cell=2 * CELL)


def overlays(saliency: Saliency, pixels: RgbPixels, classes: np.ndarray) -> list[list[RgbPixels]]:
    """Every picture, (n, S, S, 3), lit where something supports each of the classes `classes[i]`, and dark elsewhere.

    classes: (n, k). Each is as bright as its own brightest place: how strong the support is cannot be compared between
    pictures.
    """
    shares = saliency.shares(pixels, classes)
    return [[lit(picture, share) for share in some] for picture, some in zip(pixels, shares, strict=True)]


def lit(picture: RgbPixels, shares: np.ndarray) -> RgbPixels:
    """Darken a picture but where `shares`, (height, width), are positive, brightest at the greatest.

    picture: (S, S, 3) uint8. Returns as much.
    """
    side = picture.shape[1], picture.shape[0]
    smooth = np.asarray(
        Image.fromarray(np.maximum(shares, 0).astype(np.float32)).resize(side, Image.Resampling.BICUBIC)
    )
    heat = np.clip(smooth / max(float(smooth.max()), 1e-12), 0, 1)[..., None]
    shown = picture * (DIMMED + (1 - DIMMED) * heat)
    return shown.round().astype(np.uint8)
