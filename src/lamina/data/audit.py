"""Pictures that show the same thing: those of different origins, which are joined before the split, and the leak audit
after it: for each test picture the nearest picture that training or tuning saw, and whether it is the same."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from threadpoolctl import threadpool_limits

from lamina.data.alignment import agreement
from lamina.data.descriptors import COPIES, Floats, copies, describe, learn_metric, nearest
from lamina.data.duplicates import joined, merge_origins
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

_WORTHWHILE: Final = 0.1  # share of compared pairs that show the same thing for which the next closest are compared too
_LEARNED_FROM: Final = 300  # pictures from whose copies the metric is learned
_KNOWN: Final = 4_096  # pictures whose distance to another origin says what is usual
_CHUNK: Final = 1_024  # pictures described between two signs of progress
_PAIRS: Final = 16  # in a sheet
_PER_ROW: Final = 4


# what `alike_pairs` returns where it finds none
NOTHING_ALIKE: Final = pd.DataFrame({"id": [], "other": [], "distance": [], "agreement": []}).astype(
    {"id": str, "other": str}
)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit found: `pairs` (docs/files.md, `audit.parquet`), and how many of them are suspicious."""

    pairs: pd.DataFrame
    suspicious: int


def alike_pairs(originals: pd.DataFrame, pixels: LabPixels, described: Floats) -> pd.DataFrame:
    """Find pictures that are told to be of different origins and yet show the same thing, whichever way it lies.

    originals: `id`, `origin`, a row for each of `pixels`, as for `audit_folds`; described: of `describe_pictures`.
    Returns `id`, `other`, `distance`, `agreement` (from `SAME_PICTURE` on), best first. The closest pairs are compared,
    `COMPARED` at a time, for as long as enough of them show the same thing.
    """
    order, ids, codes = _by_id(originals)
    found, distance = nearest(described[order], described[order], (codes, codes))
    pairs = pd.DataFrame({"left": np.arange(len(ids)), "right": found, "distance": np.round(distance, 3)})
    pairs = pairs[np.isfinite(pairs["distance"])]
    pairs[["left", "right"]] = np.sort(pairs[["left", "right"]].to_numpy(), axis=1)
    closest = pairs.drop_duplicates(["left", "right"]).sort_values(["distance", "left", "right"], ignore_index=True)
    agreed: list[float] = []
    for start in range(0, len(closest), COMPARED):
        some = closest.iloc[start : start + COMPARED]
        agreed += _agreements(list(zip(order[some["left"]], order[some["right"]], strict=True)), pixels)
        if np.mean(np.array(agreed[start:]) >= SAME_PICTURE) < _WORTHWHILE:
            break
    closest = closest.head(len(agreed))
    left, right = ids[closest["left"]], ids[closest["right"]]
    listed = pd.DataFrame({"id": left, "other": right, "distance": closest["distance"], "agreement": agreed})
    listed = listed[listed["agreement"] >= SAME_PICTURE]
    return listed.sort_values(["agreement", "id", "other"], ascending=[False, True, True], ignore_index=True)


def join_origins(originals: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """The origins of pictures, those of `alike_pairs` made one. originals: `id`, `origin`."""
    place = pd.Series(np.arange(len(originals)), index=originals["id"])
    edges = np.stack([place[pairs["id"]], place[pairs["other"]]], axis=1)
    return merge_origins(originals["origin"], joined(np.arange(len(originals)), edges))


def audit_folds(originals: pd.DataFrame, pixels: LabPixels, described: Floats) -> Audit:
    """Find for each test picture its nearest in training and validation, whichever way it lies.

    originals: `id`, `origin`, `fold`, a row for each of `pixels`, (N, S, S, 3) int16 CIELAB x 100, and of `described`
    (of `describe_pictures`); spare ones take no part. The order of pictures does not count; ties go to the smaller id.
    Time grows with test times other pictures, memory with pictures alone (300 bytes each).
    """
    order, _, _ = _by_id(originals)
    table, described = originals.iloc[order].reset_index(drop=True), described[order]
    test, seen = (np.flatnonzero(table["fold"].isin(folds)) for folds in (["test"], ["train", "validation"]))
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


def closest_sheet(pairs: pd.DataFrame, manifest: pd.DataFrame, pixels: LabPixels) -> Image.Image:
    """Draw the first pairs of an audit, each test picture left of its nearest, with names and figures below.

    pairs: of `audit_folds`; manifest: `id`, `name`, a row for each of `pixels`.
    """
    shown = pairs.head(_PAIRS)
    figures = [f"agreement {pair['agreement']:.2f}, distance {pair['distance']:.1f}" for _, pair in shown.iterrows()]
    return _pairs_sheet(shown["id"], shown["nearest"], ("test", shown["fold"]), figures, manifest, pixels)


def joined_sheet(pairs: pd.DataFrame, manifest: pd.DataFrame, pixels: LabPixels) -> Image.Image:
    """Draw the first pairs of `alike_pairs` side by side; arguments as for `closest_sheet`."""
    shown = pairs.head(_PAIRS)
    figures = [f"agreement {agreed:.2f}" for agreed in shown["agreement"]]
    return _pairs_sheet(shown["id"], shown["other"], ("left", ["right"] * len(shown)), figures, manifest, pixels)


def _pairs_sheet(
    lefts: Iterable[str],
    rights: Iterable[str],
    sides: tuple[str, Iterable[str]],
    figures: Sequence[str],
    manifest: pd.DataFrame,
    pixels: LabPixels,
) -> Image.Image:
    place = pd.Series(np.arange(len(manifest)), index=manifest["id"])
    names = manifest.set_index("id")["name"].map(lambda name: str(name).rsplit("/", 1)[-1])
    drawn, captions = [], []
    for left, right, side, words in zip(lefts, rights, sides[1], figures, strict=True):
        here, there = (lab_to_srgb(np.array(pixels[place[picture]])) for picture in (left, right))
        drawn.append(np.hstack([here, np.full((len(here), max(1, len(here) // 32), 3), 255, np.uint8), there]))
        captions.append(f"{sides[0]}: {names[left]}\n{side}: {names[right]}\n{words}")
    starts = range(0, len(drawn), _PER_ROW)
    rows = [drawn[start : start + _PER_ROW] for start in starts]
    words_below = [captions[start : start + _PER_ROW] for start in starts]
    return contact_sheet(rows, [""] * len(rows), words_below, cell=(256, 128))


def describe_pictures(ids: "pd.Series[str]", pixels: LabPixels) -> Floats:
    """Describe pictures in the metric that a few of them, evenly chosen, teach: (N, d), row by row as `pixels`."""
    order = np.argsort(ids.to_numpy(str), kind="stable")
    some = order[_evenly(len(order), _LEARNED_FROM)]
    warped = [copies(pixels[place], np.random.default_rng(int(ids.iloc[place], 16))) for place in some]
    described = describe([copy for of_one in warped for copy in of_one])
    metric = learn_metric(describe([pixels[place] for place in some]), described.reshape(len(some), COPIES, -1))

    def describe_chunk(start: int) -> Floats:
        found: Floats = describe(list(pixels[start : start + _CHUNK])) @ metric
        release(pixels)
        return found

    starts = range(0, len(pixels), _CHUNK)
    sizes = [min(_CHUNK, len(pixels) - start) for start in starts]
    # NumPy and OpenCV leave Python's lock alone; threads of their own would only be in each other's way
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(
            list(progress(pool.map(describe_chunk, starts), what="audit", unit="pictures", sizes=sizes))
        )


def _by_id(originals: pd.DataFrame) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.str_], npt.NDArray[np.intp]]:
    """The order of the ids, the ids in it, and the numbers of their origins."""
    order = np.argsort(originals["id"].to_numpy(str), kind="stable")
    table = originals.iloc[order]
    return order, table["id"].to_numpy(str), pd.factorize(table["origin"])[0].astype(np.intp)


def _evenly(count: int, most: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _unusual(distance: npt.NDArray[np.float64], seen: Floats, origins: "pd.Series[str]") -> npt.NDArray[np.float64]:
    """Share of pictures seen in training whose nearest of another origin is closer than each distance: 0 to 1."""
    codes = pd.factorize(origins)[0].astype(np.intp)
    some = _evenly(len(seen), _KNOWN)
    known = np.sort(nearest(seen[some], seen, (codes[some], codes))[1])
    return np.round(np.searchsorted(known, distance, side="left") / len(known), 4)


def _agreements(places: Sequence[tuple[int, int]], pixels: LabPixels) -> list[float]:
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda pair: agreement(pixels[pair[0]], pixels[pair[1]]), places)
        return [round(one, 4) for one in progress(found, what="compare", unit="pairs", total=len(places))]
