"""The report's page: the chapters of all tasks and of the data, laid out as one HTML file that needs nothing else."""

from collections.abc import Sequence

from lamina.charts.chapter import Chapter, render
from lamina.report.data_chapter import DataChapter


def lay_out(system: str, chapters: Sequence[Chapter], data: DataChapter) -> str:
    """Return the text of the page: the same inputs give the same text.

    Args:
        system: its name.
        chapters: of the tasks, at least one.
        data: the chapter about the data.
    """
    certain = [chapter for chapter in chapters if chapter.certainty.strip()]
    return str(
        render(
            "lamina.report",
            "page.html.jinja",
            system=system,
            chapters=chapters,
            certain=certain,
            data=data,
            record=chapters[0].record,
        )
    )
