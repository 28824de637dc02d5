"""A control: labels dealt anew at random, which nothing that is sound can learn, and the test for it."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

DEALS: Final = 9999
_DEALT_AT_ONCE: Final = 10**6  # labels, held in memory
LEVEL: Final = 0.001  # among a thousand sound runs one raises a false alarm


def deal_labels(manifest: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The split manifest with its labels dealt anew at random, so that there is nothing to learn.

    manifest: `origin`, `label`. What an origin holds of a class, copies included, stays together and gets one label:
    a network that saw a part of an origin in training could know it again in the test.
    """
    unit, told = _units(manifest)
    return manifest.assign(label=np.random.default_rng(seed).permutation(told)[unit])


def chance_test(label: npt.ArrayLike, predicted: npt.ArrayLike, unit: npt.ArrayLike, *, seed: int) -> dict[str, Any]:
    """Test whether predictions know more of dealt labels than chance: exact up to the number of deals drawn.

    label, predicted: (n,), of the test pictures; unit: (n,), pictures that were dealt one label together.
    Returns `accuracy`, `chance` (its mean over all deals of these labels to the units), `interval` (the middle 95 % of
    them), `p` (the share of deals in which these predictions would be right at least as often; at least
    1 / (`DEALS` + 1)), and `passed`: p is above `LEVEL`.
    Source: the randomization test; P. Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005.
    """
    labels, answers = np.asarray(label, dtype=object), np.asarray(predicted, dtype=object)
    first, group = np.unique(np.asarray(unit), return_index=True, return_inverse=True)[1:]
    classes, codes = np.unique(labels[first], return_inverse=True)
    hits = np.stack([np.bincount(group, weights=answers == name) for name in classes], axis=1)
    dealt = np.concatenate(list(_deals(hits, codes, np.random.default_rng(seed)))) / len(labels)
    accuracy = float(np.mean(labels == answers))
    p = (1 + int(np.sum(dealt >= accuracy - 1e-12))) / (DEALS + 1)
    chance = float((hits.sum(axis=0) @ np.bincount(codes)) / len(first) / len(labels))
    low, high = np.quantile(dealt, [0.025, 0.975])
    return {
        "accuracy": accuracy,
        "chance": chance,
        "interval": [float(low), float(high)],
        "p": p,
        "passed": p > LEVEL,
    }


def _deals(
    hits: npt.NDArray[np.intp], codes: npt.NDArray[np.intp], random: np.random.Generator
) -> Iterator[npt.NDArray[np.intp]]:
    """Right answers after each deal of labels to units, some deals at once; hits: (units, classes) if it got each."""
    at_once = max(1, _DEALT_AT_ONCE // len(codes))
    for start in range(0, DEALS, at_once):
        dealt = random.permuted(np.tile(codes, (min(at_once, DEALS - start), 1)), axis=1)
        yield hits[np.arange(len(codes)), dealt].sum(axis=1)


def units(manifest: pd.DataFrame) -> npt.NDArray[np.intp]:
    """(rows,) numbers: what an origin holds of one class is one unit."""
    return _units(manifest)[0]


def _units(manifest: pd.DataFrame) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.object_]]:
    """Each row's unit, and each unit's label."""
    groups = manifest.groupby(["origin", "label"], sort=True)
    told = np.array(groups.size().index.get_level_values("label"), dtype=np.object_)
    return np.array(groups.ngroup(), dtype=np.intp), told
