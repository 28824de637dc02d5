"""Great Expectations' Data Docs: findings in, a page of HTML out.

The page that Great Expectations writes differs between runs (clock, random ids, time zone) and needs scripts from the
network. Here its renderers fill our own page: the same tables give the same bytes, and the page needs no other files.
"""

import html
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lamina.tracking.expectations import Checked, Findings, Suite

PAGE: Final = Path(__file__).with_name("data_docs.html.jinja")


def page(findings: Findings) -> str:
    """Return the Data Docs as HTML without scripts or links to the network.

    Suites with a broken expectation come first; small tables (`Suite.shown`) are shown row by row.

    Args:
        findings: Of `check`.
    """
    from great_expectations.render.view import DefaultJinjaPageView

    template = DefaultJinjaPageView().env.from_string(PAGE.read_text(encoding="utf-8"))
    chapters = [_chapter(checked) for checked in sorted(findings.tables, key=lambda one: one.result.success)]
    return str(template.render(chapters=chapters, count=len(findings.all), broken=len(findings.broken))) + "\n"


def _chapter(checked: Checked) -> dict[str, Any]:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    _, *sections = ValidationResultsPageRenderer().render(checked.result).to_json_dict()["sections"]
    return {
        "suite": checked.suite,
        "success": checked.result.success,
        "sections": sections,
        "heads": [(column, checked.table[column].dtype.kind in "iuf") for column in checked.suite.shown],
        "rows": _rows(checked.suite, checked.table),
    }


def _rows(suite: Suite, table: pd.DataFrame) -> list[str]:
    """Return the cells of each shown row as HTML."""
    rows = ["".join(map(_cell, row)) for row in table[list(suite.shown)].itertuples(index=False)] if suite.shown else []
    if suite.meter is None:
        return rows
    shares = table[list(suite.meter)].itertuples(index=False)
    return [row + _meter(*pair) for row, pair in zip(rows, shares, strict=True)]


def _cell(value: object) -> str:
    # the templates do not escape values, and names of classes come from the source
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    return f'<td class="number">{f"{100 * value:.1f} %" if isinstance(value, float) else value}</td>'


def _meter(value: float, bound: float) -> str:
    """Draw a bar as long as the value, with a line at its bound."""
    kind = "meter over" if value > bound else "meter"
    bar = f'<i style="width: {100 * value:.1f}%"></i><b style="left: {100 * bound:.1f}%"></b>'
    return f'<td class="wide"><div class="{kind}">{bar}</div></td>'
