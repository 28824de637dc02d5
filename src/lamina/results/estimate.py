"""A score in `metrics.json` next to the measure."""

from lamina.results.metrics import Interval
from lamina.results.result_file import ResultFile


class Estimate(ResultFile):
    """A score and its 95 % interval, None for one origin."""

    value: float
    interval: Interval = None
