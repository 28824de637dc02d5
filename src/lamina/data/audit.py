"""The leak audit: for each test picture the nearest picture that training or tuning saw, and whether it is the same."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lamina.data.alignment import agreement
from lamina.data.likeness import COPIES, Floats, copies, describe, learn_metric, nearest
from lamina.data.sheets import contact_sheet
from lamina.files import release
from lamina.maths.color import LabPixels, lab_to_srgb
from lamina.progress import progress

SAME_PICTURE: Final = 0.95
"""The agreement from which a pair is called suspicious.

Measured, with the warps that `likeness` names: of warped copies 99 to 100 % agree as well (leukocytes, photographs,
smears, MNIST), of CIFAR-10, whose pictures have 32 pixels, 89 %. Of 192 photographs and their nearest others none
agrees better than 0.58; those looked at above the bound in leukocytes, smears and CIFAR-10 show the same thing. Digits
written by hand may agree as well by chance.
"""
COMPARED: Final = 512  # of the closest pairs: their pixels are compared, at about 100 a second and core

_LEARNED_FROM: Final = 300  # pictures from whose copies the metric is learned
_KNOWN: Final = 4_096  # pictures whose distance to another origin says what is usual
_CHUNK: Final = 1_024  # pictures described between two signs of progress
_PER_ROW: Final = 4  # pairs in a row of the sheet


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit found: `pairs` (docs/files.md, `audit.parquet`), and how many of them are suspicious."""

    pairs: pd.DataFrame
    suspicious: int


def audit_folds(originals: pd.DataFrame, pixels: LabPixels) -> Audit:
    """Find for each test picture its nearest in training and validation, whichever way it lies.

    originals: `id`, `origin`, `fold`, a row for each of `pixels`, (N, S, S, 3) int16 CIELAB x 100. The order of
    pictures does not count; ties go to the smaller id. Time grows with test times other pictures (60,000 of CIFAR-10:
    half a minute), memory with pictures alone (300 bytes each).
    """
    order = np.argsort(originals["id"].to_numpy(str), kind="stable")
    table = originals.iloc[order].reset_index(drop=True)
    described = _described(table["id"], order, pixels)
    is_test = (table["fold"] == "test").to_numpy()
    test, seen = np.flatnonzero(is_test), np.flatnonzero(~is_test)
    found, distance = nearest(described[test], described[seen])
    pairs = pd.DataFrame(
        {
            "id": table["id"].to_numpy()[test],
            "nearest": table["id"].to_numpy()[seen[found]],
            "fold": table["fold"].to_numpy()[seen[found]],
            "distance": np.round(distance, 3),
            "unusual": _unusual(distance, described[seen], table["origin"].iloc[seen]),
        }
    )
    closest = np.lexsort((pairs["id"], pairs["distance"]))[:COMPARED]
    places = list(zip(order[test[closest]], order[seen[found[closest]]], strict=True))
    pairs["agreement"] = pd.Series(_agreements(places, pixels), index=closest).reindex(pairs.index)
    doubt = pairs["agreement"].where(pairs["agreement"] >= SAME_PICTURE, -1.0)
    pairs = pairs.assign(doubt=doubt).sort_values(["doubt", "distance", "id"], ascending=[False, True, True])
    return Audit(pairs=pairs.drop(columns="doubt").reset_index(drop=True), suspicious=int((doubt > 0).sum()))


def closest_sheet(pairs: pd.DataFrame, manifest: pd.DataFrame, pixels: LabPixels, most: int = 16) -> Image.Image:
    """Draw the first pairs of an audit, each test picture left of its nearest, with names and figures below.

    pairs: of `audit_folds`; manifest: `id`, `name`, a row for each of `pixels`.
    """
    place = pd.Series(np.arange(len(manifest)), index=manifest["id"])
    names = manifest.set_index("id")["name"].map(lambda name: str(name).rsplit("/", 1)[-1])
    drawn, captions = [], []
    for _, pair in pairs.head(most).iterrows():
        here, there = (lab_to_srgb(np.array(pixels[place[pair[end]]])) for end in ("id", "nearest"))
        drawn.append(np.hstack([here, np.full((len(here), max(1, len(here) // 32), 3), 255, np.uint8), there]))
        figures = f"agreement {pair['agreement']:.2f}, distance {pair['distance']:.1f}"
        captions.append(f"test: {names[pair['id']]}\n{pair['fold']}: {names[pair['nearest']]}\n{figures}")
    starts = range(0, len(drawn), _PER_ROW)
    rows = [drawn[start : start + _PER_ROW] for start in starts]
    words = [captions[start : start + _PER_ROW] for start in starts]
    return contact_sheet(rows, [""] * len(rows), words, cell=(256, 128))


def _described(ids: "pd.Series[str]", order: npt.NDArray[np.intp], pixels: LabPixels) -> Floats:
    """Pictures in the metric that a few of them, evenly chosen, teach: (n, d), in the order of `ids` and `order`."""
    some = _evenly(len(order), _LEARNED_FROM)
    warped = [copies(pixels[order[place]], np.random.default_rng(int(ids[place], 16))) for place in some]
    described = describe([copy for of_one in warped for copy in of_one])
    metric = learn_metric(describe([pixels[place] for place in order[some]]), described.reshape(len(some), COPIES, -1))
    chunks = [order[start : start + _CHUNK] for start in range(0, len(order), _CHUNK)]

    def describe_chunk(chunk: npt.NDArray[np.intp]) -> Floats:
        found: Floats = describe([pixels[place] for place in chunk]) @ metric
        release(pixels)
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy and OpenCV leave Python's lock alone
        found = pool.map(describe_chunk, chunks)
        return np.concatenate(
            list(progress(found, what="audit", unit="pictures", sizes=[len(chunk) for chunk in chunks]))
        )


def _evenly(count: int, most: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _unusual(distance: npt.NDArray[np.float64], seen: Floats, origins: "pd.Series[str]") -> npt.NDArray[np.float64]:
    """Share of pictures seen in training whose nearest of another origin is closer than each distance: 0 to 1."""
    codes = pd.factorize(origins)[0].astype(np.intp)
    some = _evenly(len(seen), _KNOWN)
    known = np.sort(nearest(seen[some], seen, (codes[some], codes))[1])
    return np.round(np.searchsorted(known, distance, side="left") / len(known), 4)


def _agreements(places: Sequence[tuple[int, int]], pixels: LabPixels) -> list[float]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda pair: agreement(pixels[pair[0]], pixels[pair[1]]), places)
        return [round(one, 4) for one in progress(found, what="compare", unit="pairs", total=len(places))]
