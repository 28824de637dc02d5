"""The report's chapter about runs that predict mean colors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamina.tasks.mean_color.results import Metrics

from lamina.charts.chapter import Chapter
from lamina.charts.plain import plain_chapter
from lamina.results.trained import read_trained


def chapter(system: Path, names: Sequence[str], pictures: Any) -> Chapter:
    """Lay out the chapter; see `lamina.tasks.task.Task.chapter`."""
    return plain_chapter("Mean colors", "mean-colors", [read_trained(system, name, Metrics) for name in names])
