"""What a publication may report of a colorizer, and our values of it."""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from lamina.maths.color_scores import RANGES
from lamina.results.published import Quantity
from lamina.tasks.colorize.results import ColorScores

TITLES: Final[Mapping[str, str]] = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "ciede2000": "CIEDE2000",
    "auc": "AuC",
    "auc_rebalanced": "AuC, rebalanced",
}
QUANTITIES: Final[Mapping[str, Quantity]] = {
    name: Quantity(title=TITLES.get(name, ""), low=float(low), high=float(high)) for name, (low, high) in RANGES.items()
}


def measured(
    scores: ColorScores, rows: pd.DataFrame, measure: str, label: str | None
) -> tuple[float, tuple[float, float] | None] | None:
    """Return the value of a measure and its interval; see `lamina.tasks.published.measured`.

    A cross-validation measures the MSE alone.
    """
    found = scores.measures.get(measure)
    return (found.value, found.interval) if found else None
