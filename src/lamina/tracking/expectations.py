"""Check tables with Great Expectations: suites in, findings out. `data_docs` shows them."""

import html
import sys
import warnings
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

EXAMPLES: Final = 5  # rows shown of those that break an expectation
GRAMMAR: Final = "rfc3987_syntax"  # a package that jsonschema imports where it is installed


@dataclass(frozen=True)
class Expectation:
    """What a table must fulfil.

    Attributes:
        words: A sentence about the table's rows, unique in its suite.
        kind: Name of a class of `great_expectations.expectations`.
        arguments: Of that class.
        when: Condition under which it is checked; None: always.
    """

    words: str
    kind: str
    arguments: Mapping[str, Any]
    when: str | None = None


def not_missing(words: str, column: str, *, when: str | None = None) -> Expectation:
    """Expect that no value is missing."""
    return Expectation(words, "ExpectColumnValuesToNotBeNull", {"column": column}, when)


def unique(words: str, *columns: str) -> Expectation:
    """Expect that no two rows have the same value (or the same combination of values)."""
    if len(columns) == 1:
        return Expectation(words, "ExpectColumnValuesToBeUnique", {"column": columns[0]})
    return Expectation(words, "ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})


def matching(words: str, column: str, pattern: str) -> Expectation:
    """Expect that every value matches a regular expression."""
    return Expectation(words, "ExpectColumnValuesToMatchRegex", {"column": column, "regex": pattern})


def one_of(words: str, column: str, *values: object, when: str | None = None) -> Expectation:
    """Expect that every value that is not missing is one of these."""
    return Expectation(words, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)}, when)


def between(words: str, column: str, least: float | None, most: float | None) -> Expectation:
    """Expect that every value is between these bounds, which are included; None is no bound."""
    bounds = {name: value for name, value in (("min_value", least), ("max_value", most)) if value is not None}
    return Expectation(words, "ExpectColumnValuesToBeBetween", {"column": column, **bounds})


def above(words: str, column: str, bound: float, *, when: str | None = None) -> Expectation:
    """Expect that every value is larger than `bound`."""
    arguments = {"column": column, "min_value": bound, "strict_min": True}
    return Expectation(words, "ExpectColumnValuesToBeBetween", arguments, when)


def ordered(words: str, small: str, large: str) -> Expectation:
    """Expect that in every row the value of column `small` is at most that of column `large`."""
    arguments = {"column_A": large, "column_B": small, "or_equal": True}
    return Expectation(words, "ExpectColumnPairValuesAToBeGreaterThanB", arguments)


def rows(words: str, least: int) -> Expectation:
    """Expect at least `least` rows."""
    return Expectation(words, "ExpectTableRowCountToBeBetween", {"min_value": least})


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The expectations of a table.

    Attributes:
        table: Its name.
        about: What its rows and columns are.
        key: Column that names a row.
        expectations: In the order of the Data Docs.
        shown: Columns of a small table that the Data Docs show in full; floats are shares from 0 to 1.
        meter: Two of them to draw as a bar: a share and its upper bound.
    """

    table: str
    about: str
    key: str
    expectations: tuple[Expectation, ...]
    shown: tuple[str, ...] = ()
    meter: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of an expectation; `broken_by` names the first rows that break it."""

    suite: Suite
    expectation: Expectation
    success: bool
    seen: str
    broken_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A checked table: findings in the order of its suite, and the result of Great Expectations."""

    suite: Suite
    table: pd.DataFrame
    findings: tuple[Finding, ...]
    result: Any


@dataclass(frozen=True)
class Findings:
    """All findings, in the order of the suites."""

    tables: tuple[Checked, ...]

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.tables + other.tables)

    @property
    def all(self) -> tuple[Finding, ...]:
        """The findings of all tables."""
        return tuple(finding for table in self.tables for finding in table.findings)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings of expectations that do not hold."""
        return tuple(finding for finding in self.all if not finding.success)

    def verdict(self) -> dict[str, Any]:
        """Return expected and seen values by table, for a JSON file; the same tables give the same bytes."""
        tables = {table.suite.table: [_as_json(finding) for finding in table.findings] for table in self.tables}
        return {"success": not self.broken, "tables": tables}


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "expected": finding.expectation.words,
        "kind": finding.expectation.kind,
        "arguments": dict(finding.expectation.arguments),
        "seen": finding.seen,
        "success": finding.success,
    }


def check(suites: Iterable[Suite], tables: Mapping[str, pd.DataFrame], conditions: Iterable[str] = ()) -> Findings:
    """Check tables against their suites.

    Needs no network and writes no files. Takes about 5 s, mostly to import Great Expectations.

    Args:
        suites: Suites without a table are left out.
        tables: By the suites' names.
        conditions: Those that hold, for expectations with `when`.

    Returns:
        One finding per expectation that was checked.
    """
    met = {None, *conditions}
    context = _context()
    return Findings(
        tuple(_check(context, suite, tables[suite.table], met) for suite in suites if suite.table in tables)
    )


def _check(context: Any, suite: Suite, table: pd.DataFrame, met: Container[str | None]) -> Checked:
    expectations = [expectation for expectation in suite.expectations if expectation.when in met]
    result = _validate(context, suite, expectations, table)
    seen = {one.expectation_config.description: one for one in result.results}
    findings = tuple(_finding(suite, expectation, seen[expectation.words]) for expectation in expectations)
    for finding in findings:
        _name_rows(seen[finding.expectation.words], finding)
    return Checked(suite=suite, table=table, findings=findings, result=result)


def _context() -> Any:
    """Return a context in memory, without files, network or progress bars."""
    with warnings.catch_warnings():
        # Great Expectations imports modules of `re` by deprecated names
        warnings.filterwarnings("ignore", r"module 'sre_\w+' is deprecated", DeprecationWarning)
        gx = _import_without_grammar()
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    return context


def _import_without_grammar() -> Any:
    """Import Great Expectations without a grammar of addresses that no expectation needs: a quarter of the time."""
    modules: dict[str, Any] = sys.modules
    hidden = modules.setdefault(GRAMMAR, None) is None  # its import fails, and jsonschema goes on without it
    import great_expectations as gx

    if hidden:
        del modules[GRAMMAR]
    return gx


def _validate(context: Any, suite: Suite, expectations: Iterable[Expectation], table: pd.DataFrame) -> Any:
    import great_expectations as gx

    asset = context.data_sources.add_pandas(suite.table).add_dataframe_asset(suite.table)
    batch = asset.add_batch_definition_whole_dataframe(suite.table).get_batch({"dataframe": table})
    built = [getattr(gx.expectations, one.kind)(description=one.words, **one.arguments) for one in expectations]
    return batch.validate(
        gx.ExpectationSuite(name=suite.table, expectations=built),
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": [suite.key],
            "partial_unexpected_count": EXAMPLES,
            "return_unexpected_index_query": False,
        },
    )


def _finding(suite: Suite, expectation: Expectation, result: Any) -> Finding:
    seen = result.result
    if not seen:  # the expectation could not be checked, because a column is missing for instance
        errors = result.exception_info.values()
        reasons = sorted({str(error["exception_message"]) for error in errors if isinstance(error, Mapping)})
        text = f"not checked: {'; '.join(reasons)}"
    elif "observed_value" in seen:
        text = f"{seen['observed_value']} rows"
    else:
        text = f"{seen['unexpected_count']} of {seen['element_count']} rows break it"
    rows = seen.get("partial_unexpected_index_list") or []
    return Finding(
        suite=suite,
        expectation=expectation,
        success=bool(result.success),
        seen=text,
        broken_by=tuple(_row(suite.key, row) for row in rows),
    )


def _name_rows(result: Any, finding: Finding) -> None:
    """Make the Data Docs show the rows that break an expectation instead of counts of values."""
    if finding.broken_by:
        result.result["partial_unexpected_counts"] = []
        # the templates do not escape values, and names come from the source
        result.result["partial_unexpected_list"] = [html.escape(row) for row in finding.broken_by]


def _row(key: str, row: Mapping[str, Any]) -> str:
    others = ", ".join(f"{column} {_text(value)}" for column, value in sorted(row.items()) if column != key)
    return f"{_text(row[key])} ({others})" if others else _text(row[key])


def _text(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
