"""The last stage: one page about what was learned, from what, and how well."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lamina.config import read_params, section
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.files import staged
from lamina.report.data_files import Pictures, Texts, read_pictures, read_texts
from lamina.report.inspection import with_inspection
from lamina.report.page import NOTHING, lay_out, pictures_chapter, texts_chapter
from lamina.report.published import published_chapter
from lamina.report.slices import with_slices
from lamina.results.published import read_copy
from lamina.results.record import system_name
from lamina.stages import entry
from lamina.tasks.ensembles import result_tasks
from lamina.tasks.registry import TASKS
from lamina.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """The page written, its bytes, the number of runs, and the best run of each task in words."""

    page: Path
    size: int
    runs: int
    best: tuple[str, ...]

    def __str__(self) -> str:
        count = f"{self.runs} {'run' if self.runs == 1 else 'runs'}"
        return f"{self.page}: {', '.join((count, *self.best))}; {self.size / 1e6:.1f} MB"


def report(runs: Mapping[str, Task], system: Path, out: Path, *, content: str = "pictures") -> ReportSummary:
    """Write `index.html` into the folder `out`: one self-contained page about the runs of a system.

    Args:
        runs: the task of each run and ensemble of the system.
        system: the system's folder.
        out: folder of the page.
        content: what the system learns from, `pictures` or `texts`.

    Raises:
        UserError: if there is no run, one is not trained or evaluated yet, or `published.yaml` names an unknown class.
    """
    if not runs:
        raise UserError("params.yaml: no run to report; add one under runs")
    data: Pictures | Texts = read_texts(system) if content == "texts" else read_pictures(system)
    names = {task: [name for name, its in runs.items() if its.name == task] for task in TASKS}
    chapters = [TASKS[task].chapter(system, of_task, data) for task, of_task in names.items() if of_task]
    page = out / "index.html"
    if isinstance(data, Texts):
        about_data = texts_chapter(data)
    else:
        about_data = with_inspection(pictures_chapter(data), system, chapters, data)
    about_data = with_slices(about_data, system, chapters, runs, data.noun)
    published = read_copy(system)
    compared = published_chapter(system, published, runs) if published else NOTHING
    text = lay_out(system_name(system), chapters, about_data, compared)
    with staged(page) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    best = tuple(chapter.best for chapter in chapters)
    return ReportSummary(page=page, size=page.stat().st_size, runs=len(runs), best=best)


def main() -> None:
    """Report on every run and ensemble of `params.yaml`, and bring MLflow up to date."""
    system = Path()
    params = read_params(system)
    runs, content = result_tasks(params), section(params, "source", SourceConfig).content
    print(report(runs, system, Path("reports"), content=content))
    from lamina.tracking.sync import sync_or_warn

    for name in runs:
        sync_or_warn(system, name)


if __name__ == "__main__":
    entry.run_stage(main)
