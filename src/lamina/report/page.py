"""The report's page: the chapters of all tasks and of the data, laid out as one HTML file that needs nothing else.

The chapter of the data has counts, what was rejected, contact sheets, and the leak audit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from lamina.charts.chapter import Chapter, render
from lamina.charts.inlined import inlined_sheet
from lamina.data.isolation import HIT
from lamina.maths.splits import FOLDS
from lamina.report import tables
from lamina.report.data_files import Pictures, Texts

GROUPS_LISTED: Final = 12
PAIRS_LISTED: Final = 24
NOTHING: Final = Markup("")
DATA_DOCS: Final = "../data/validation/docs/index.html"  # from reports/index.html


@dataclass(frozen=True, kw_only=True)
class DataChapter:
    """The part of the page about the data: what there is in a few words, titles of its sections by anchor, and them.

    script: digest of the only script that the page may run; empty if there is none.
    """

    lead: str
    sections: Mapping[str, str]
    body: Markup
    script: str = ""


def pictures_chapter(pictures: Pictures) -> DataChapter:
    """Lay out what the data stages found about pictures."""
    sheets = {name: inlined_sheet(path) for name, path in pictures.sheets.items()}
    groups = tables.near_duplicates(pictures.groups)
    audit = pictures.counted if pictures.audit is not None else None
    sections = {"data": "Data"}
    sections |= {"pictures": "The pictures"} if sheets or groups else {}
    sections |= {"audit": "Leak audit"} if audit else {}
    return _chapter(
        pictures,
        "pictures.html.jinja",
        sections,
        sheets=sheets,
        groups=groups,
        cells=tables.cells(pictures),
        hit=HIT,
        groups_listed=GROUPS_LISTED,
        audit=audit,
        audited=0 if pictures.audit is None else len(pictures.audit),
    )


def texts_chapter(texts: Texts) -> DataChapter:
    """Lay out what the data stages found about texts."""
    return _chapter(texts, "texts.html.jinja", {"data": "Data", "audit": "Leak audit"}, audit=texts.counted)


def _chapter(data: Pictures | Texts, template: str, sections: Mapping[str, str], **values: object) -> DataChapter:
    """Render a template with what pictures and texts have, and with further values."""
    census = tables.census(len(data.names), data.rejected, data.split)
    body = render(
        "lamina.report",
        template,
        census=census,
        folds=FOLDS,
        joined=tables.joined(data, PAIRS_LISTED),
        joined_pairs=len(data.joined),
        suspicious=tables.suspicious(data, PAIRS_LISTED),
        docs=DATA_DOCS if data.docs else None,
        **values,
    )
    count, classes = census.kept, len(census.classes)
    lead = f"{count:,} {data.noun}{'s' if count != 1 else ''}"
    lead += f" of {classes} class{'es' if classes != 1 else ''}" if classes else ""
    return DataChapter(lead=lead, sections=sections, body=body)


def lay_out(system: str, chapters: Sequence[Chapter], data: DataChapter, published: Markup = NOTHING) -> str:
    """Return the text of the page: the same inputs give the same text.

    Args:
        system: its name.
        chapters: of the tasks, at least one.
        data: the chapter about the data.
        published: the chapter about published figures; empty if there are none.
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
            published=published,
            record=chapters[0].record,
        )
    )
