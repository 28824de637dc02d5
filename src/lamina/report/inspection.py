"""The page's part about single pictures: doubtful labels, odd pictures, and a map of all of them."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd
from markupsafe import Markup

from lamina.charts.chapter import Chapter, render
from lamina.charts.inlined import Drawn, inlined_sheet
from lamina.report.data_files import Pictures
from lamina.report.map import draw_map
from lamina.report.page import DataChapter
from lamina.report.slices import read_metadata, targets_of
from lamina.results.folders import results_folder
from lamina.results.inspection import MAP_COLUMNS, Inspection
from lamina.results.record import read_record
from lamina.results.result_file import read_result, read_table

STAGE: Final = "inspect"
LISTED: Final = 12  # rows of a table in the page
LEARNED: Final = 6  # columns of which the map shows the values
VARIANTS: Final = {
    "given": "as given",
    "corrected": "suspects with the likelier label",
    "removed": "without the suspects",
}
SCRIPT: Final = "map.js"


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What the stage `inspect` found.

    table: `MAP_COLUMNS` for each original. sheets: `suspects` and `odd`, where they are there.
    """

    summary: Inspection
    table: pd.DataFrame
    sheets: dict[str, Drawn]

    @property
    def suspects(self) -> pd.DataFrame:
        """The rows of the suspects, the most doubtful first."""
        return self.table[self.table["suspect"]].sort_values(["doubt", "file"], ascending=[False, True])


def read_inspection(system: Path) -> Inspected | None:
    """Read `data/inspection/` of a system; None where the stage has not run."""
    folder = system / "data" / "inspection"
    if not folder.exists():
        return None
    return Inspected(
        summary=read_result(folder / "summary.json", Inspection, STAGE),
        table=read_table(folder / "map.parquet", MAP_COLUMNS, STAGE),
        sheets={name: inlined_sheet(path) for name in ("suspects", "odd") if (path := folder / f"{name}.png").exists()},
    )


def with_inspection(about: DataChapter, system: Path, chapters: Sequence[Chapter], pictures: Pictures) -> DataChapter:
    """Add sections about single pictures to the chapter of the data, where the stage `inspect` has run.

    Args:
        about: The chapter.
        system: The system's folder.
        chapters: Of the tasks; the map shows what the best run that predicts classes got wrong, and what the best run
            of another task learned.
        pictures: Of the data.
    """
    found = read_inspection(system)
    if found is None:
        return about
    drawn = draw_map(found.table, pictures, best_predictions(system, chapters), learned_columns(system, chapters))
    script = Path(__file__).with_name(SCRIPT).read_text(encoding="utf-8")
    body = render(
        "lamina.report",
        "inspection.html.jinja",
        found=found,
        listed=LISTED,
        variants=VARIANTS,
        map=drawn,
        script=Markup(script),  # noqa: S704 - our own file
    )
    sections = {"labels": "Doubtful labels", "odd": "Odd pictures"} | ({"map": "Map"} if drawn else {})
    return replace(
        about,
        sections={**about.sections, **sections},
        body=about.body + body,
        script=script_digest(script) if drawn else "",
    )


def best_predictions(system: Path, chapters: Sequence[Chapter]) -> tuple[str, "pd.Series[str]"] | None:
    """Return the name of the best run that predicts classes, and its classes by the id of test pictures; or None."""
    for chapter in chapters:
        name = next(iter(chapter.runs))
        table = read_table(results_folder(system, name) / "predictions.parquet", ("id",), f"evaluate@{name}")
        if {"label", "predicted"} <= {*table.columns}:
            return name, table.set_index("id")["predicted"]
    return None


def learned_columns(system: Path, chapters: Sequence[Chapter]) -> pd.DataFrame:
    """Return the columns of the metadata that the best run of each task learns from, by id of the picture."""
    metadata = read_metadata(system)
    if metadata is None:
        return pd.DataFrame()
    records = [read_record(results_folder(system, next(iter(chapter.runs)))) for chapter in chapters]
    names = dict.fromkeys(name for record in records for name in targets_of(record) if name in metadata)
    return metadata[list(names)[:LEARNED]]


def script_digest(script: str) -> str:
    """Return the digest by which the page's content security policy allows this script, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
