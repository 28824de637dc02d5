"""The doubt of a classifier's answers: scaled probabilities, sets of classes, a mark for unknown kinds of pictures.

The stage `evaluate` measures it on the validation fold, `lamina predict` and served models use it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lamina.maths.conformal import prediction_sets
from lamina.maths.neighbors import distances
from lamina.maths.temperature import scaled
from lamina.results.folders import made_by
from lamina.results.result_file import ResultFile, read_pixels, read_result

if TYPE_CHECKING:
    import pandas as pd

FOLDER: Final = "uncertainty"  # in that of a run
KNOWN: Final = "uncertainty.json"
REFERENCE: Final = "features.npy"
VALIDATION: Final = "validation.parquet"


class Limit(ResultFile):
    """The limit of 1 - probability up to which a class is in a set.

    Attributes:
        value: 0 to 1; None: too few origins, the class is in every set.
        origins: of the validation fold that it comes from.
    """

    value: float | None
    origins: int


class Neighborhood(ResultFile):
    """How far from the training pictures a picture may lie.

    Attributes:
        neighbor: the distance is that to the k-th nearest kept training picture.
        limit: pictures beyond it are marked.
        share: of pictures of new origins that at least lie within the limit if they are like those of validation.
        origins: of the validation fold that it comes from.
    """

    neighbor: int
    limit: float
    share: float
    origins: int


class Uncertainty(ResultFile):
    """What the validation fold says about the answers of a classifier: `uncertainty.json`.

    Attributes:
        key: of the training that it was measured on.
        temperature: of `lamina.maths.temperature`.
        coverage: wanted of the sets.
        limits, limits_by_class: of each class, in the order of the model's outputs: the same for all, or each its own.
        neighborhood: None for texts.
    """

    key: str
    temperature: float
    coverage: float
    limits: Mapping[str, Limit]
    limits_by_class: Mapping[str, Limit]
    neighborhood: Neighborhood | None = None

    @property
    def classes(self) -> list[str]:
        return list(self.limits)

    def scaled(self, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated probabilities, (n, classes)."""
        return scaled(probabilities, self.temperature)

    def sets(self, probabilities: NDArray[np.floating], *, by_class: bool = False) -> NDArray[np.bool_]:
        """Return which classes are in the set of each picture, (n, classes), from probabilities that are not scaled."""
        limits = self.limits_by_class if by_class else self.limits
        return prediction_sets(probabilities, finite(limits))


def finite(limits: Mapping[str, Limit]) -> NDArray[np.float64]:
    """Return limits as numbers, infinity for None."""
    return np.array([math.inf if one.value is None else one.value for one in limits.values()])


class Judge:
    """Answers with their doubt, from the files of a run.

    Args:
        folder: `uncertainty/` of the run.
        stage: that makes it.

    Raises:
        UserError: if a file is missing or broken; names the stage.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.known = read_result(folder / KNOWN, Uncertainty, stage)
        self._reference = read_pixels(folder / REFERENCE, stage) if self.known.neighborhood else None

    @property
    def columns(self) -> dict[str, str]:
        """What `table` has for each picture or text: columns, and their types as MLflow names them."""
        by_class = {"scaled": "float", "set": "boolean"}
        found = {f"{kind}:{name}": form for kind, form in by_class.items() for name in self.known.limits}
        return found | ({"outlier:distance": "float", "outlier:mark": "boolean"} if self.known.neighborhood else {})

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the distance of features, (n, width), from those of the training pictures, (n,)."""
        assert self._reference is not None
        assert self.known.neighborhood
        return distances(features, self._reference, self.known.neighborhood.neighbor)

    def table(self, probabilities: NDArray[np.floating], distance: NDArray[np.floating] | None) -> "pd.DataFrame":
        """Return the scaled probabilities, sets and marks of rows.

        Args:
            probabilities: (n, classes) of the model.
            distance: (n,) of `distances`; None for texts.

        Returns:
            (n, `columns`).
        """
        import pandas as pd

        known = self.known
        parts = [*known.scaled(probabilities).astype(np.float32).T, *known.sets(probabilities).T]
        if known.neighborhood and distance is not None:
            parts += [distance, distance > known.neighborhood.limit]
        return pd.DataFrame(dict(zip(self.columns, parts, strict=True)))


def find_judge(folder: Path, key: str) -> Judge | None:
    """Return the judge of the run in a folder; None where it was not evaluated since it was trained.

    Args:
        folder: of the run or ensemble.
        key: of its training.
    """
    place = folder / FOLDER
    judge = Judge(place, made_by(folder, "evaluate")) if (place / KNOWN).exists() else None
    return judge if judge and judge.known.key == key else None
