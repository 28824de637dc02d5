"""Predictions of classifiers that nobody trained, and `uncertainty/` of a run that made them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lamina.maths.neighbors import unit_rows
from lamina.results.uncertainty import Uncertainty
from lamina.tasks.classify.uncertainty import measure_uncertainty, write_uncertainty
from lamina.tasks.columns import probability

TWO: Final = ("cat", "dog")
WIDTH: Final = 4
KEY: Final = "a" * 64  # that of finished_record


def predicted(
    count: int, classes: Sequence[str] = TWO, *, seed: int = 0, per_origin: int = 1, distance: bool = True
) -> pd.DataFrame:
    """Return calibrated predictions of pictures of which `per_origin` share each origin."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(len(classes), 0.5), count)
    truth = (shares.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    names = np.array(classes, dtype=object)
    ids = [f"{seed:04x}{number:012x}" for number in range(count)]
    table = pd.DataFrame({"id": ids, "origin": [f"{seed}-{number // per_origin}" for number in range(count)]})
    table = table.assign(label=names[truth], predicted=names[shares.argmax(axis=1)])
    table = table.join(pd.DataFrame(shares, columns=[*map(probability, classes)]))
    return table.assign(distance=random.random(count).astype(np.float32)) if distance else table


def write_doubt(
    folder: Path, validation: pd.DataFrame, classes: Sequence[str] = TWO, *, width: int = WIDTH
) -> Uncertainty:
    """Write `uncertainty/` into a run's folder, with reference features along the axes."""
    known = measure_uncertainty(validation, classes, KEY)
    reference = np.tile(unit_rows(np.eye(width, dtype=np.float32)), (10, 1)).astype(np.float16)
    write_uncertainty(folder, known, validation, classes, reference if known.neighborhood else None)
    return known
