"""The page's section about parts of the test pictures: those of one hospital or camera, and those of one origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from lamina.charts.chapter import Chapter, render
from lamina.maths.quarters import cut_numbers
from lamina.maths.slices import FEWEST, Slice, find_slices, worst_first
from lamina.report.page import DataChapter
from lamina.results.folders import results_folder
from lamina.results.measures import MEASURES, Measure
from lamina.results.record import Record, read_record
from lamina.results.result_file import read_table
from lamina.tasks.task import Task

LISTED: Final = 20  # slices of a run in the page, the worst
ORIGINS_LISTED: Final = 5  # of these, at most so many origins
MOST_ORIGINS: Final = 60  # of more, each is too small to say much
MOST_VALUES: Final = 8  # of a column of few pictures that is still one of slices
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
    metadata = read_metadata(system)
    found = [slice_run(system, name, MEASURES[runs[name].measure], metadata) for name in names]
    found = [one for one in found if one.slices]
    if not found:
        return about
    body = render("lamina.report", "slices.html.jinja", sliced=found, fewest=FEWEST, noun=noun)
    return replace(about, sections={**about.sections, "slices": "Slices"}, body=about.body + body)


def slice_run(system: Path, name: str, measure: Measure, metadata: pd.DataFrame | None) -> Sliced:
    """Score the slices of a run's test fold: by each column of the metadata, and by origin where these are few.

    Left out are the columns that the run learns from, and those that name single pictures.
    """
    table = read_table(results_folder(system, name) / "predictions.parquet", ("id", ORIGIN), f"evaluate@{name}")
    columns = pd.DataFrame(index=table.index)
    if metadata is not None:
        own = targets_of(read_record(results_folder(system, name)))
        columns = metadata.drop(columns=own, errors="ignore").reindex(table["id"]).set_axis(table.index)
        columns = columns[[column for column in columns if not _names_each(columns[column])]]
    # a column of the metadata with the same name goes first: it may be a country
    if ORIGIN not in columns and 1 < table[ORIGIN].nunique() <= min(MOST_ORIGINS, len(table) / 2):
        columns = columns.assign(**{ORIGIN: table[ORIGIN].astype(str)})
    answers = table[[*measure.columns]].itertuples(index=False)
    scores = [measure.value({"": measure.cells(list(row))}) for row in answers]
    found = find_slices(scores, table[ORIGIN], columns, share=measure.share)
    slices = [replace(one, interval=_possible(one.interval, measure)) for one in found]
    ordered = worst_first(slices, higher_is_better=measure.higher_is_better)
    origins = [one for one in ordered if one.column == ORIGIN][ORIGINS_LISTED:]
    shown = [one for one in ordered if one not in origins][:LISTED]
    return Sliced(run=name, measure=measure, slices=shown, count=len(slices))


def targets_of(record: Record) -> list[str]:
    """Return the columns of the metadata that a run learns from."""
    settings = record.settings
    return [*settings.get("targets", []), *([settings["target"]] if "target" in settings else [])]


def _possible(interval: tuple[float, float] | None, measure: Measure) -> tuple[float, float] | None:
    """Cut an interval to the values that a measure can have: from 0, and shares to 1."""
    return interval and (max(0.0, interval[0]), min(1.0, interval[1]) if measure.share else interval[1])


def _names_each(column: "pd.Series[str]") -> bool:
    """Whether a column has nearly as many values as pictures, and they are no numbers."""
    return cut_numbers(column) is None and column.nunique() > max(MOST_VALUES, column.notna().sum() / 2)


def read_metadata(system: Path) -> pd.DataFrame | None:
    """Read the metadata of all pictures by id; None where there are none."""
    path = system / "data" / "split" / "metadata.parquet"
    return pd.read_parquet(path).set_index("id") if path.exists() else None
