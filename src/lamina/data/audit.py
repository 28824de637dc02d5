"""Finds pictures with the same content.

Before the split: pictures of different origins that show the same content, so that their origins are merged.
After the split, the leak audit: for each test picture the nearest training or validation picture, and whether both
show the same content.
"""

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

from lamina.data.alignment import NOT_ALIGNABLE, agreement, unit_details
from lamina.data.descriptors import COPIES, Floats, describe, learn_metric, warped_copies
from lamina.data.duplicates import ALIKE, ENOUGH, NEAREST, merge_groups, merge_origins
from lamina.data.nearest import nearest_neighbors
from lamina.data.sheets import ELLIPSIS, contact_sheet, evenly_spaced
from lamina.files import release
from lamina.maths.color import LabPixels, lab_to_srgb
from lamina.progress import progress
from lamina.text import printable

Bounds = npt.NDArray[np.float64]

SAME_PICTURE: Final = 0.95
"""A pair with at least this agreement is suspicious, unless different pictures agree as well.

Measured with the warps named in `lamina.data.descriptors`: 99 to 100 % of warped copies reach it (leukocytes,
photographs, smears, MNIST), 89 % for CIFAR-10 with its 32 pixels. Of 192 photographs and their nearest neighbors none
exceeds 0.58. All inspected pairs above the bound in leukocytes, smears and CIFAR-10 show the same content.
Handwritten digits may reach it by chance.
"""
COMPARED: Final = 512  # closest pairs whose pixels are compared, about 100 per second and core

_USUAL_PICTURES: Final = 200  # that show how well different pictures agree
_WORTHWHILE: Final = 0.1  # compare the next closest pairs too if at least this share shows the same content
_METRIC_PICTURES: Final = 300  # pictures whose warped copies the metric is learned from
_REFERENCE_PICTURES: Final = 4_096  # pictures that define which distance to another origin is usual
_CHUNK: Final = 1_024  # pictures described per step of the progress bar
_PAIRS: Final = 16  # pairs on a sheet
_PER_ROW: Final = 4
_NAME: Final = 30  # letters of a name on a sheet, about what fits below a pair


# what `same_content_pairs` returns where it finds no pairs
NO_PAIRS: Final = pd.DataFrame({"id": [], "other": [], "distance": [], "agreement": []}).astype(
    {"id": str, "other": str}
)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Result of the leak audit.

    Attributes:
        pairs: A row per test picture, as in `audit.parquet` (docs/files.md).
        suspicious: Number of pairs with an agreement of at least the bounds of both pictures.
    """

    pairs: pd.DataFrame
    suspicious: int


def same_content_bounds(originals: pd.DataFrame, pixels: LabPixels) -> Bounds:
    """Find from which agreement another picture shows the same content as each.

    `SAME_PICTURE`; where at least a fifth of all pairs agrees that well, as those of a fixed camera, copies must be
    twice as near as all but the nearest 5 % of the pictures.

    Args:
        originals: Column `id`, a row per picture.
        pixels: (N, S, S, 3) int16, CIELAB x 100, in the order of `originals`.

    Returns:
        (N,) agreements.
    """
    bounds = np.full(len(originals), SAME_PICTURE)
    if len(originals) < ENOUGH:
        return bounds
    some = np.argsort(originals["id"].to_numpy(str), kind="stable")[evenly_spaced(len(originals), _USUAL_PICTURES)]
    usual = np.stack([unit_details(pixels[place]) for place in some])
    release(pixels)
    pairs = (usual @ usual.T)[np.triu_indices(len(some), 1)]
    if np.quantile(pairs, 1 - ALIKE) < SAME_PICTURE:
        return bounds
    found = np.stack([usual @ unit_details(picture) for picture in pixels])
    # what agreement lacks to 1 is a squared distance: half of the distance is a quarter of it
    higher: Bounds = np.maximum(bounds, (3 + np.quantile(found, 1 - NEAREST, axis=1)) / 4)
    return higher


def same_content_pairs(originals: pd.DataFrame, pixels: LabPixels, described: Floats, bounds: Bounds) -> pd.DataFrame:
    """Find pictures of different origins that show the same content in any orientation.

    The closest pairs are compared, `COMPARED` at a time, as long as enough of them show the same content.

    Args:
        originals: Columns `id` and `origin`, a row per picture.
        pixels: (N, S, S, 3) int16, CIELAB x 100, in the order of `originals`.
        described: (N, d), from `describe_pictures`.
        bounds: (N,), from `same_content_bounds`.

    Returns:
        Columns `id`, `other`, `distance` and `agreement` (at least the bounds of both), best first.
    """
    order, ids, codes = _by_id(originals)
    described = described[order]
    found, distance = nearest_neighbors(described, described, (codes, codes))
    del described  # a copy of all descriptors
    pairs = pd.DataFrame({"left": np.arange(len(ids)), "right": found, "distance": np.round(distance, 3)})
    pairs = pairs[np.isfinite(pairs["distance"])]
    pairs[["left", "right"]] = np.sort(pairs[["left", "right"]].to_numpy(), axis=1)
    closest = pairs.drop_duplicates(["left", "right"]).sort_values(["distance", "left", "right"], ignore_index=True)
    least: Bounds = bounds[order][closest[["left", "right"]].to_numpy()].max(axis=1)
    agreements: list[float] = []
    for start in range(0, len(closest), COMPARED):
        some = closest.iloc[start : start + COMPARED]
        agreements += _agreements(list(zip(order[some["left"]], order[some["right"]], strict=True)), pixels)
        if np.mean(np.array(agreements[start:]) >= least[start : len(agreements)]) < _WORTHWHILE:
            break
    closest = closest.head(len(agreements))
    left, right = ids[closest["left"]], ids[closest["right"]]
    compared = pd.DataFrame({"id": left, "other": right, "distance": closest["distance"], "agreement": agreements})
    same: pd.DataFrame = compared[compared["agreement"].to_numpy() >= least[: len(agreements)]]
    return same.sort_values(["agreement", "id", "other"], ascending=[False, True, True], ignore_index=True)


def merge_pair_origins(originals: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Merge the origins of the pictures in each pair.

    Args:
        originals: Columns `id` and `origin`.
        pairs: From `same_content_pairs`.

    Returns:
        The new origin of each row of `originals`.
    """
    place = pd.Series(np.arange(len(originals)), index=originals["id"])
    edges = np.stack([place[pairs["id"]], place[pairs["other"]]], axis=1)
    return merge_origins(originals["origin"], merge_groups(np.arange(len(originals)), edges))


def audit_folds(originals: pd.DataFrame, pixels: LabPixels, described: Floats, bounds: Bounds) -> Audit:
    """Find the nearest training or validation picture of each test picture, in any orientation.

    The order of the pictures does not change the result; ties go to the smaller id. Time and memory (300 bytes each)
    grow with the number of pictures; time faster, the less they differ in what the descriptors describe.

    Args:
        originals: Columns `id`, `origin` and `fold`, a row per picture; those of fold `spare` are ignored.
        pixels: (N, S, S, 3) int16, CIELAB x 100, in the order of `originals`.
        described: (N, d), from `describe_pictures`.
        bounds: (N,), from `same_content_bounds`.

    Returns:
        The pairs, suspicious ones first, then by distance.
    """
    order, _, _ = _by_id(originals)
    table = originals.iloc[order].reset_index(drop=True)
    test, seen = (np.flatnonzero(table["fold"].isin(folds)) for folds in (["test"], ["train", "validation"]))
    known = described[order[seen]]
    found, distance = nearest_neighbors(described[order[test]], known)
    pairs = pd.DataFrame(
        {
            "id": table["id"].to_numpy()[test],
            "nearest": table["id"].to_numpy()[seen[found]],
            "fold": table["fold"].to_numpy()[seen[found]],
            "distance": np.round(distance, 3),
            "unusual": _unusual(distance, known, table["origin"].iloc[seen]),
        }
    )
    closest = np.lexsort((pairs["id"], pairs["distance"]))[:COMPARED]
    places = list(zip(order[test[closest]], order[seen[found[closest]]], strict=True))
    pairs["agreement"] = pd.Series(_agreements(places, pixels), index=closest).reindex(pairs.index)
    least = np.maximum(bounds[order[test]], bounds[order[seen[found]]])
    suspicion = pairs["agreement"].where(pairs["agreement"] >= least, -1.0)
    pairs = pairs.assign(suspicion=suspicion).sort_values(
        ["suspicion", "distance", "id"], ascending=[False, True, True]
    )
    return Audit(pairs=pairs.drop(columns="suspicion").reset_index(drop=True), suspicious=int((suspicion > 0).sum()))


def pairs_sheet(pairs: pd.DataFrame, manifest: pd.DataFrame, pixels: LabPixels) -> Image.Image:
    """Draw the first pairs side by side, with names and measures below.

    Args:
        pairs: From `audit_folds` (each test picture is left of its nearest), or from `same_content_pairs`.
        manifest: Columns `id` and `name`, a row per picture.
        pixels: (N, S, S, 3) int16, CIELAB x 100, in the order of `manifest`.
    """
    place = pd.Series(np.arange(len(manifest)), index=manifest["id"])
    some = pairs.head(_PAIRS)
    captions, drawn = pair_captions(some, manifest), []
    for left, right in zip(some["id"], some[_other(pairs)], strict=True):
        here, there = (lab_to_srgb(np.array(pixels[place[picture]])) for picture in (left, right))
        drawn.append(np.hstack([here, np.full((len(here), max(1, len(here) // 32), 3), 255, np.uint8), there]))
    starts = range(0, len(drawn), _PER_ROW)
    rows = [drawn[start : start + _PER_ROW] for start in starts]
    texts = [captions[start : start + _PER_ROW] for start in starts]
    return contact_sheet(rows, [""] * len(rows), texts, cell=(256, 128))


def pair_captions(pairs: pd.DataFrame, manifest: pd.DataFrame) -> list[str]:
    """Return the lines below each pair of a sheet: both names, and how well the pictures agree.

    A name is the end of the picture's path, with no more folders than tell it apart from all others.

    Args:
        pairs: As in `pairs_sheet`.
        manifest: Columns `id` and `name`, a row per picture.
    """
    paths = manifest.set_index("id")["name"].map(printable)
    files = paths.str.rsplit("/", n=1).str[-1]
    captions = []
    for _, pair in pairs.iterrows():
        left, right = (_short_name(paths[one], paths[files == files[one]]) for one in pair[["id", _other(pairs)]])
        measure = "not alignable" if pair["agreement"] == NOT_ALIGNABLE else f"agreement {pair['agreement']:.2f}"
        captions.append(
            f"test: {left}\n{pair['fold']}: {right}\n{measure}, distance {pair['distance']:.1f}"
            if "nearest" in pairs
            else f"left: {left}\nright: {right}\n{measure}"
        )
    return captions


def _other(pairs: pd.DataFrame) -> str:
    """Return the column of the second picture of each pair."""
    return "nearest" if "nearest" in pairs else "other"


def _short_name(path: str, alike: Iterable[str]) -> str:
    """Return the shortest end of a path that no other has, cut in the middle. alike: all paths of its file name."""
    parts, others = path.split("/"), [other for other in alike if other != path]
    ends = ("/".join(parts[-count:]) for count in range(1, len(parts)))
    end = next((end for end in ends if not any(other.endswith(f"/{end}") for other in others)), path)
    return end if len(end) <= _NAME else f"{end[: _NAME // 3]}{ELLIPSIS}{end[-(_NAME - _NAME // 3 - 1) :]}"


def describe_pictures(ids: "pd.Series[str]", pixels: LabPixels) -> Floats:
    """Compute descriptors of pictures, in a metric learned from warped copies of some of them.

    Args:
        ids: Hexadecimal ids of the pictures; they seed the warps, so that the order does not matter.
        pixels: (N, S, S, 3) int16, CIELAB x 100, may be memory-mapped.

    Returns:
        (N, d) float32.
    """
    order = np.argsort(ids.to_numpy(str), kind="stable")
    some = order[evenly_spaced(len(order), _METRIC_PICTURES)]
    warped = [warped_copies(pixels[place], np.random.default_rng(int(ids.iloc[place], 16))) for place in some]
    described = describe([copy for copies in warped for copy in copies])
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
    """The sorted order of the ids, and in that order the ids and the numbers of their origins."""
    order = np.argsort(originals["id"].to_numpy(str), kind="stable")
    table = originals.iloc[order]
    return order, table["id"].to_numpy(str), pd.factorize(table["origin"])[0].astype(np.intp)


def _unusual(distance: npt.NDArray[np.float64], seen: Floats, origins: "pd.Series[str]") -> npt.NDArray[np.float64]:
    """Share (0 to 1) of training pictures that are closer to another origin than each distance."""
    codes = pd.factorize(origins)[0].astype(np.intp)
    some = evenly_spaced(len(seen), _REFERENCE_PICTURES)
    usual = np.sort(nearest_neighbors(seen[some], seen, (codes[some], codes))[1])
    return np.round(np.searchsorted(usual, distance, side="left") / len(usual), 4)


def _agreements(places: Sequence[tuple[int, int]], pixels: LabPixels) -> list[float]:
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda pair: agreement(pixels[pair[0]], pixels[pair[1]]), places)
        agreements = [round(one, 4) for one in progress(found, what="compare", unit="pairs", total=len(places))]
    release(pixels)
    return agreements
