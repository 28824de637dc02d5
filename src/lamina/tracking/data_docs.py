"""Great Expectations' Data Docs: findings in, a page of HTML out.

The page that Great Expectations writes differs between runs (clock, random ids, time zone) and needs scripts from the
network. Here its renderers fill our own page: the same tables give the same bytes, and the page needs no other files.
"""

import html
from typing import Any, Final

import pandas as pd

from lamina.tracking.expectations import Checked, Findings, Suite


def page(findings: Findings) -> str:
    """Return the Data Docs as HTML without scripts or links to the network.

    Suites with a broken expectation come first; small tables (`Suite.shown`) are shown row by row.

    Args:
        findings: Of `check`.
    """
    from great_expectations.render.view import DefaultJinjaPageView

    template = DefaultJinjaPageView().env.from_string(_PAGE)
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


_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data Docs</title>
<style>
  :root {
    color-scheme: light dark;
    --paper: #f7f5fa; --panel: #fffefd; --ink: #221d33; --soft: #4a4560; --line: #dcd8e6;
    --violet: #5b3fa8; --good: #217a37; --bad: #c0262d;
  }
  @media (prefers-color-scheme: dark) {
    :root {
      --paper: #14111d; --panel: #1d1929; --ink: #efecf7; --soft: #bcb5d1; --line: #3a3450;
      --violet: #ab98f5; --good: #6fcf84; --bad: #ff8a85;
    }
  }
  * { box-sizing: border-box; }
  body {
    max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
    font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  }
  h1 { margin: 0; font-size: 2.4rem; line-height: 1.2; letter-spacing: -.02em; }
  h2 { margin: 0 0 .5rem; font-size: 1.3rem; line-height: 1.2; }
  h2 i { font-style: normal; }
  .lead { margin: .5rem 0 1rem; font-size: 1.1rem; }
  .about, .lead small { color: var(--soft); font-size: .9rem; }
  .about { max-width: 52rem; margin: 0 0 1rem; }
  nav { display: flex; flex-wrap: wrap; gap: .4rem; margin-bottom: 1.5rem; }
  nav a {
    padding: .1rem .7rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--panel);
    color: inherit; font-size: .9rem; text-decoration: none;
  }
  nav a:hover { border-color: var(--violet); }
  article {
    margin: 0 0 1.25rem; padding: 1.25rem 1.5rem; border: 1px solid var(--line); border-radius: .9rem;
    background: var(--panel); overflow-x: auto;
  }
  article.broken { border-color: var(--bad); }
  .good, .text-success { color: var(--good); font-style: normal; }
  .bad, .text-danger { color: var(--bad); font-style: normal; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
  .rows { margin-bottom: 1.25rem; }
  .rows th { border-top: 0; color: var(--soft); font-size: .8rem; }
  .rows .number { text-align: right; white-space: nowrap; }
  .rows .wide { width: 14rem; padding-right: 0; vertical-align: middle; }
  .meter { position: relative; height: .6rem; border-radius: .3rem; background: var(--line); }
  .meter i { display: block; height: 100%; border-radius: .3rem; background: var(--violet); }
  .meter.over i { background: var(--bad); }
  .meter b { position: absolute; top: -.2rem; bottom: -.2rem; width: 2px; background: var(--ink); }
  /* Great Expectations' sections: the column's name at the left, what is expected of it at the right */
  .ge-section > .row { display: grid; grid-template-columns: 12.5rem 1fr; border-top: 1px solid var(--line); }
  .ge-section > .row > * { min-width: 0; }
  .ge-section > .row > :nth-child(n + 3) { border-top: 1px solid var(--line); }
  h5 { margin: 0; padding: .3rem .8rem .3rem 0; color: var(--soft); font-size: .9rem; font-weight: 500; }
  .table { table-layout: fixed; }
  .table > thead { display: none; }
  .table > tbody > tr:first-child > td { border-top: 0; }
  .table > tbody > tr > td:first-child { width: 1.8rem; }
  .table > tbody > tr > td:last-child { width: 10rem; padding-right: 0; color: var(--soft); }
  .table-bordered { width: auto; margin: .5rem 0; font-size: .9rem; }
  .fa-check-circle::before { content: "\\2713"; }
  .fa-times::before, .fa-exclamation-triangle::before { content: "\\2717"; }
  @media (max-width: 40rem) {
    .ge-section > .row { grid-template-columns: 1fr; }
    .rows .wide, .rows th:empty { display: none; }
  }
</style>
</head>
<body>
<h1>Data Docs</h1>
<p class="lead">
{% if broken %}
  <strong class="bad">{{ broken }} of {{ count }} expectations {{ "is" if broken == 1 else "are" }} broken.</strong>
{% else %}
  <strong class="good">All {{ count }} expectations hold.</strong>
{% endif %}
  <small>Expected and observed properties of the data. Made with Great Expectations {{ ge_version }}.</small>
</p>
<nav>
{% for chapter in chapters %}
  <a href="#{{ chapter.suite.table }}"><span class="{{ "good" if chapter.success else "bad" }}">
    {{- "\u2713" if chapter.success else "\u2717" }}</span> {{ chapter.suite.table }}</a>
{% endfor %}
</nav>
{% for chapter in chapters %}
<article id="{{ chapter.suite.table }}"{% if not chapter.success %} class="broken"{% endif %}>
<h2>{{ chapter.suite.table }}</h2>
<p class="about">{{ chapter.suite.about }}</p>
{% if chapter.rows %}
<table class="rows">
<thead><tr>
  {%- for column, is_number in chapter.heads %}<th{% if is_number %} class="number"{% endif %}>{{ column }}</th>
  {%- endfor %}
  {%- if chapter.suite.meter %}<th></th>{% endif %}</tr></thead>
<tbody>
{% for row in chapter.rows %}
<tr>{{ row | safe }}</tr>
{% endfor %}
</tbody>
</table>
{% endif %}
{% for section in chapter.sections %}{% set section_loop = loop %}{% include "section.j2" %}{% endfor %}
</article>
{% endfor %}
</body>
</html>
"""
