"""The doubt of a classifier's answers: measured on the validation fold, judged on the test fold."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lamina.data.rows import Folders, open_rows
from lamina.files import staged
from lamina.maths.calibration import calibration
from lamina.maths.conformal import COVERAGE, limit, score_sets, set_limits
from lamina.maths.neighbors import NEIGHBOR, REFERENCE, distances
from lamina.maths.scores import accuracy_interval
from lamina.maths.temperature import fit_temperature
from lamina.progress import progress
from lamina.results import uncertainty as files
from lamina.results.uncertainty import Limit, Neighborhood, Uncertainty
from lamina.tasks.classify.results import PREDICTED
from lamina.tasks.columns import probability

if TYPE_CHECKING:
    from lamina.models.divided import Divided

BATCH: Final = 256
WITHIN: Final = 0.95  # share of the pictures like those of validation that must not be marked


def predict_with_distances(
    network: "Divided", split: pd.DataFrame, rows: pd.DataFrame, folders: Folders, frozen: Path | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict pictures, and compute their distance from those of training by the features of the classifier.

    Args:
        network: from pictures to probabilities.
        split: all rows.
        rows: of the split, of other folds than training.
        folders: where the data lie.
        frozen: the folder of the features that the network's head learned from, if its backbone is frozen: the network
            does not see the training pictures again then. None: it does.

    Returns:
        (rows, classes) probabilities, the (rows,) distances, and (m, width) float16 features of training pictures.
    """
    known = reference_rows(split.reset_index(drop=True))
    shown = rows if frozen else pd.concat([known, rows])
    pictures = open_rows(shown[["id", "copy"]], folders)
    sizes = [min(BATCH, len(pictures) - start) for start in range(0, len(pictures), BATCH)]
    answered = map(network.outputs_and_features, pictures.batches(BATCH))
    found = list(progress(answered, what="evaluate", unit="pictures", sizes=sizes))
    shares, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    first = len(shown) - len(rows)
    if frozen:
        learned = np.load(frozen / "features.npy", mmap_mode="r")  # a row for each of the split
        reference = network.features_of_frozen(learned[known.index])
    else:
        reference = features[:first]
    reference = reference.astype(np.float16)
    return shares[first:], distances(features[first:], reference), reference


def reference_rows(manifest: pd.DataFrame, most: int = REFERENCE) -> pd.DataFrame:
    """Choose training pictures, without their copies: of every class as many, as far as it has them."""
    train = manifest[(manifest["fold"] == "train") & (manifest["copy"] == 0)].sort_values("id")
    turn = train.groupby("label").cumcount().to_numpy()
    chosen: pd.DataFrame = train.iloc[np.sort(np.argsort(turn, kind="stable")[:most])]
    return chosen[["id", "label", "copy"]]


def measure_uncertainty(validation: pd.DataFrame, classes: Sequence[str], key: str) -> Uncertainty:
    """Measure on the validation fold what answers are given with.

    Args:
        validation: `label`, `origin`, a column of probabilities per class, and, for pictures, `distance`.
        classes: of the model, in the order of its outputs.
        key: of its training.
    """
    shares, truth, origin = columns(validation, classes)
    limits, own = (set_limits(shares, truth, origin, by_class=by_class) for by_class in (False, True))
    of_class = [len(set(origin[truth == number])) for number in range(len(classes))]
    return Uncertainty(
        key=key,
        temperature=fit_temperature(shares, truth, origin),
        coverage=COVERAGE,
        limits=_named(classes, limits, [len(set(origin))] * len(classes)),
        limits_by_class=_named(classes, own, of_class),
        neighborhood=_neighborhood(validation["distance"], origin) if "distance" in validation else None,
    )


def judge_uncertainty(rows: pd.DataFrame, classes: Sequence[str], known: Uncertainty) -> dict[str, Any]:
    """Judge scaled probabilities, sets and marks on rows that they were not measured on; see `JudgedScores`."""
    shares, truth, origin = columns(rows, classes)
    origins = next(iter(known.limits.values())).origins
    found: dict[str, Any] = {
        "scaled": calibration(known.scaled(shares), truth, origin),
        "sets": score_sets(known.sets(shares), truth, origin, known.coverage, origins),
        "sets_by_class": score_sets(known.sets(shares, by_class=True), truth, origin, known.coverage),
    }
    if known.neighborhood:
        marked = (rows["distance"] > known.neighborhood.limit).to_numpy()
        interval = accuracy_interval(marked, origin)
        found["outliers"] = {"wanted": 1 - known.neighborhood.share, "share": marked.mean(), "interval": interval}
    return found


def write_uncertainty(
    folder: Path, known: Uncertainty, validation: pd.DataFrame, classes: Sequence[str], reference: np.ndarray | None
) -> None:
    """Write `uncertainty/` into the folder of a run."""
    shown = [*PREDICTED, *map(probability, classes), *(["distance"] if known.neighborhood else [])]
    with staged(folder / files.FOLDER, folder=True) as part:
        known.write(part / files.KNOWN)
        validation[shown].to_parquet(part / files.VALIDATION, index=False)
        if reference is not None:
            np.save(part / files.REFERENCE, reference)


def columns(rows: pd.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities, (n, classes), the numbers of the labels, (n,), and the origins, (n,)."""
    truth = pd.Categorical(rows["label"], categories=list(classes)).codes
    return rows[[*map(probability, classes)]].to_numpy(dtype=np.float64), truth, rows["origin"].to_numpy()


def _named(classes: Sequence[str], limits: np.ndarray, origins: Sequence[int]) -> dict[str, Limit]:
    values = [float(value) if math.isfinite(value) else None for value in limits]
    return {
        name: Limit(value=value, origins=count) for name, value, count in zip(classes, values, origins, strict=True)
    }


def _neighborhood(distance: "pd.Series[float]", origin: np.ndarray) -> Neighborhood:
    """Set the limit so that `WITHIN` lie within it; with few origins, as many as these can promise."""
    origins = len(set(origin))
    share = min(WITHIN, origins / (origins + 1))
    return Neighborhood(neighbor=NEIGHBOR, limit=limit(distance, origin, share), share=share, origins=origins)
