"""The page's section about parts of the test pictures: those of one hospital or camera, and those of one origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from lamina.charts.chapter import Chapter, render
from lamina.maths.slices import FEWEST, Slice, find_slices, worst_first
from lamina.report.page import DataChapter
from lamina.results.folders import results_folder
from lamina.results.measures import MEASURES, Measure
from lamina.results.result_file import read_table
from lamina.tasks.task import Task

LISTED: Final = 20  # slices of a run in the page, the worst
ORIGINS_LISTED: Final = 5  # of these, at most so many origins
MOST_ORIGINS: Final = 60  # of more, each is too small to say much
ORIGIN: Final = "origin"


@dataclass(frozen=True, kw_only=True)
class Sliced:
    """A run, its measure, and its worst slices, the worst first; count: of all its slices."""

    run: str
    measure: Measure
    slices: list[Slice]
    count: int


def with_slices(
    about: DataChapter, system: Path, chapters: Sequence[Chapter], runs: Mapping[str, Task], noun: str
) -> DataChapter:
    """Add a section about slices of the test fold to the chapter of the data, where there are some.

    Args:
        about: The chapter.
        system: The system's folder.
        chapters: Of the tasks; the best run of each is shown.
        runs: The task of each run.
        noun: `picture` or `text`.
    """
    names = [next(iter(chapter.runs)) for chapter in chapters]
    metadata = _read_metadata(system)
    found = [slice_run(system, name, MEASURES[runs[name].measure], metadata) for name in names]
    found = [one for one in found if one.slices]
    if not found:
        return about
    body = render("lamina.report", "slices.html.jinja", sliced=found, fewest=FEWEST, noun=noun)
    return replace(about, sections={**about.sections, "slices": "Slices"}, body=about.body + body)


def slice_run(system: Path, name: str, measure: Measure, metadata: pd.DataFrame | None) -> Sliced:
    """Score the slices of a run's test fold: by each column of the metadata, and by origin where these are few."""
    table = read_table(results_folder(system, name) / "predictions.parquet", ("id", ORIGIN), f"evaluate@{name}")
    columns = pd.DataFrame(index=table.index)
    if metadata is not None:
        columns = metadata.reindex(table["id"]).set_axis(table.index)
    if 1 < table[ORIGIN].nunique() <= min(MOST_ORIGINS, len(table) / 2):
        columns = columns.assign(**{ORIGIN: table[ORIGIN].astype(str)})
    answers = table[[*measure.columns]].itertuples(index=False)
    scores = [measure.value({"": measure.cells(list(row))}) for row in answers]
    slices = find_slices(scores, table[ORIGIN], columns, share=measure.share)
    ordered = worst_first(slices, higher_is_better=measure.higher_is_better)
    origins = [one for one in ordered if one.column == ORIGIN][ORIGINS_LISTED:]
    shown = [one for one in ordered if one not in origins][:LISTED]
    return Sliced(run=name, measure=measure, slices=shown, count=len(slices))


def _read_metadata(system: Path) -> pd.DataFrame | None:
    path = system / "data" / "split" / "metadata.parquet"
    return pd.read_parquet(path).set_index("id") if path.exists() else None
