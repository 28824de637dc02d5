"""What the page says about the data: counts, what was rejected, contact sheets, and the leak audit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd
from markupsafe import Markup

from lamina.charts.chapter import render
from lamina.charts.inlined import inlined_sheet
from lamina.data.isolation import HIT
from lamina.maths.splits import FOLDS
from lamina.report import tables
from lamina.report.pictures import Pictures
from lamina.report.texts import Texts

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
    census = tables.census(len(pictures.names), pictures.rejected, pictures.split)
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
    return DataChapter(lead=_lead(census, "picture"), sections=sections, body=body)


def texts_chapter(texts: Texts) -> DataChapter:
    """Lay out what the data stages found about texts."""
    census = tables.census(len(texts.names), texts.rejected, texts.split)
    sections = {"data": "Data", "audit": "Leak audit"}
    body = render(
        "lamina.report",
        "texts.html.jinja",
        census=census,
        folds=FOLDS,
        audit=texts.counted,
        joined=_named(texts, texts.joined.head(PAIRS_LISTED), "id", "other", "agreement"),
        joined_pairs=len(texts.joined),
        suspicious=_named(
            texts,
            texts.audit.head(min(PAIRS_LISTED, texts.counted.suspicious or 0)),
            "id",
            "nearest",
            "fold",
            "agreement",
        ),
        docs=DATA_DOCS if texts.docs else None,
    )
    return DataChapter(lead=_lead(census, "text"), sections=sections, body=body)


def _lead(census: tables.Census, what: str) -> str:
    count, classes = census.kept, len(census.classes)
    lead = f"{count:,} {what}{'s' if count != 1 else ''}"
    return lead + (f" of {classes} class{'es' if classes != 1 else ''}" if classes else "")


def _named(texts: Texts, pairs: pd.DataFrame, first: str, second: str, *columns: str) -> list[tuple[object, ...]]:
    """Pairs of texts with their names in place of their ids."""
    return [
        (texts.name(pair[first]), texts.name(pair[second]), *(pair[column] for column in columns))
        for pair in pairs.to_dict("records")
    ]
