"""A negative control: train with shuffled labels. A sound pipeline learns nothing then; this module tests that."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.errors import UserError

TRIES: Final = 100
SHUFFLES: Final = 9999
_LABELS_AT_ONCE: Final = 10**6  # in memory
LEVEL: Final = 0.001  # one false alarm in a thousand sound runs


def shuffle_labels(manifest: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Shuffle the labels of the split manifest, so that there is nothing to learn.

    Rows of one origin and class, copies included, keep a common label: otherwise a network could recognize in the test
    fold an origin that it saw in training.

    A shuffle that leaves the fold `train` without a class is drawn again: nothing could be trained. `chance_test` stays
    exact, since its shuffles leave the labels of that fold as they are.

    Args:
        manifest: `origin`, `label`, `fold`.
        seed: of the shuffle.

    Returns:
        The same manifest with other labels.

    Raises:
        UserError: if a class is missing in training after each of `TRIES` shuffles.
    """
    labels = np.array(_by_unit(manifest).size().index.get_level_values("label"), dtype=np.object_)
    random, unit, train = np.random.default_rng(seed), units(manifest), (manifest["fold"] == "train").to_numpy()
    for _ in range(TRIES):
        shuffled = random.permutation(labels)[unit]
        if len(set(shuffled[train])) == len(set(labels)):
            return manifest.assign(label=shuffled)
    raise UserError(
        f"assess.control: after each of {TRIES} shuffles a class is missing in training, because few origins have it; "
        "add origins, leave the class out with source.classes, or set control: false for this run"
    )


def chance_test(label: npt.ArrayLike, predicted: npt.ArrayLike, unit: npt.ArrayLike, *, seed: int) -> dict[str, Any]:
    """Test whether predictions for shuffled labels are better than chance.

    The test is exact except for the limited number of random shuffles.

    Args:
        label: (n,) shuffled labels of the test pictures.
        predicted: (n,) predicted labels.
        unit: (n,) pictures that got one label together have the same number (see `units`).
        seed: of the random shuffles.

    Returns:
        `accuracy`; `chance`, its mean over all shuffles of these labels; `interval`, the middle 95 % of the shuffles;
        `p`, the share of shuffles for which these predictions are at least as accurate (at least 1 / (`SHUFFLES` + 1));
        and `passed`, whether p is above `LEVEL`.

    Source:
        The randomization test; P. Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005.
    """
    labels, predictions = np.asarray(label, dtype=object), np.asarray(predicted, dtype=object)
    first, group = np.unique(np.asarray(unit), return_index=True, return_inverse=True)[1:]
    classes, codes = np.unique(labels[first], return_inverse=True)
    hits = np.stack([np.bincount(group, weights=predictions == name) for name in classes], axis=1)
    shuffled = np.concatenate(list(_shuffles(hits, codes, np.random.default_rng(seed)))) / len(labels)
    accuracy = float(np.mean(labels == predictions))
    chance = float((hits.sum(axis=0) @ np.bincount(codes)) / len(first) / len(labels))
    return {"accuracy": accuracy, "chance": chance} | against_chance(shuffled, accuracy)


def against_chance(
    shuffled: npt.NDArray[np.float64], value: float, *, rounding: float = 1e-12, sign: int = 1
) -> dict[str, Any]:
    """Compare the measure of predictions with what random shuffles of the true answers give.

    Args:
        shuffled: (shuffles,) the measure after each shuffle.
        value: the measure of the predictions.
        rounding: differences up to this are none.
        sign: 1 if higher values are better, -1 if lower ones are.

    Returns:
        `interval`, `p` and `passed`; see `chance_test`.
    """
    p = (1 + int(np.sum(sign * shuffled >= sign * value - rounding))) / (len(shuffled) + 1)
    return {"interval": np.quantile(shuffled, [0.025, 0.975]).tolist(), "p": p, "passed": p > LEVEL}


def _shuffles(
    hits: npt.NDArray[np.intp], codes: npt.NDArray[np.intp], random: np.random.Generator
) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the number of correct predictions after each shuffle, some shuffles at a time.

    hits: (units, classes), the correct predictions of each unit if it got this label; codes: (units,) label numbers.
    """
    at_once = max(1, _LABELS_AT_ONCE // len(codes))
    for start in range(0, SHUFFLES, at_once):
        shuffled = random.permuted(np.tile(codes, (min(at_once, SHUFFLES - start), 1)), axis=1)
        yield hits[np.arange(len(codes)), shuffled].sum(axis=1)


def units(manifest: pd.DataFrame) -> npt.NDArray[np.intp]:
    """(rows,) unit number of each row: rows of one origin and class are one unit."""
    return np.array(_by_unit(manifest).ngroup(), dtype=np.intp)


def _by_unit(manifest: pd.DataFrame) -> Any:
    return manifest.groupby(["origin", "label"], sort=True)
