"""What the page says about the data: for pictures counts, contact sheets and the leak audit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from lamina.charts.chapter import render
from lamina.charts.inlined import inlined_sheet
from lamina.data.isolation import HIT
from lamina.maths.splits import FOLDS
from lamina.report import tables
from lamina.report.pictures import Pictures

GROUPS_LISTED: Final = 12
PAIRS_LISTED: Final = 24
DATA_DOCS: Final = "../data/validation/docs/index.html"  # from reports/index.html


@dataclass(frozen=True, kw_only=True)
class DataChapter:
    """The part of the page about the data: what there is in a few words, titles of its sections by anchor, and them."""

    lead: str
    sections: Mapping[str, str]
    body: Markup


def pictures_chapter(pictures: Pictures) -> DataChapter:
    """Lay out what the data stages found about pictures."""
    census = tables.census(pictures)
    sheets = {name: inlined_sheet(path) for name, path in pictures.sheets.items()}
    groups = tables.near_duplicates(pictures.groups)
    audit = pictures.counted if pictures.audit is not None else None
    sections = {"data": "Data"}
    sections |= {"pictures": "The pictures"} if sheets or groups else {}
    sections |= {"audit": "Leak audit"} if audit else {}
    body = render(
        "lamina.report",
        "pictures.html.jinja",
        census=census,
        folds=FOLDS,
        sheets=sheets,
        groups=groups,
        cells=tables.cells(pictures),
        hit=HIT,
        groups_listed=GROUPS_LISTED,
        audit=audit,
        joined=tables.joined(pictures, PAIRS_LISTED),
        joined_pairs=len(pictures.joined),
        audited=0 if pictures.audit is None else len(pictures.audit),
        suspicious=tables.suspicious(pictures, PAIRS_LISTED),
        docs=DATA_DOCS if pictures.docs else None,
    )
    count, classes = census.kept, len(census.classes)
    lead = f"{count} picture{'s' if count != 1 else ''}"
    lead += f" of {classes} class{'es' if classes != 1 else ''}" if classes else ""
    return DataChapter(lead=lead, sections=sections, body=body)
